"""Reads whose request a message is, before it is decoded: to put it in a line, and for nothing else."""

import json
import re

from pamqp import commands as spec

from worker.messages.envelope import property_text
from worker.rules import NO_ORG
from worker.whose import OrgsOfUsers

_KEY = b'"org_id"'
_ORG = re.compile(rb'"org_id"\s*:\s*"([^"\\]*)"')
_ESCAPED_ASCII = b"\\u00"  # another way to write the key
_LONGEST_PARSED = 32 << 10


def org_in(body: bytes) -> str:
    """Read the organisation of a request. Where there is more than one way to read it, the body is parsed, so
    that nobody gets into many lines by naming many organisations.
    """
    if body.count(_KEY) == 1 and _ESCAPED_ASCII not in body and (found := _ORG.search(body)):
        return found[1].decode("utf-8", "replace")
    if len(body) > _LONGEST_PARSED:
        return NO_ORG
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return NO_ORG
    org = document.get("org_id") if isinstance(document, dict) else None
    return org if isinstance(org, str) else NO_ORG


def line_of_sender(orgs: OrgsOfUsers, org: str, properties: spec.Basic.Properties) -> str:
    """Return the line of this organisation for those who may act for it. What others send in its name is
    refused soon, and waits in no line of a customer until then.
    """
    return org if orgs.may_act(property_text(properties.user_id), org) else NO_ORG
