"""Makes the limits of messages from the settings."""

import re

from worker.messages.decoding import Limits
from worker.messages.reply_rule import ReplyRule
from worker.rabbitmq.topology import own_names
from worker.settings import Settings
from worker.whose import orgs_of_users


def limits_of(settings: Settings) -> Limits:
    """Say what a message may have, where its answer may go, and for whom its sender may act."""
    pattern = re.compile(settings.reply_to_pattern) if settings.reply_to_pattern else None
    return Limits(
        settings.max_body_bytes,
        ReplyRule(own_names(settings.prefix), pattern),
        orgs_of_users(settings.org_of_user, settings.sender) if settings.org_of_user else None,
    )
