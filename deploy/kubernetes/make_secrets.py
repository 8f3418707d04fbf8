"""Prints the Secrets that deploy/kubernetes/ refers to, with new passwords: no manifest has any.

    python deploy/kubernetes/make_secrets.py --console-tokens FILE | kubectl apply -f -

The file has the lines of `session-worker console token`. Run it once: passwords made anew shut everybody out
until both servers and all pods have taken them. For passwords from a vault of yours, make Secrets of the same
names and keys with what serves it.
"""

import argparse
import base64
import json
import secrets
import sys
from pathlib import Path
from typing import Any

from worker.rabbitmq.access import Actor, User, definitions, hashed

NAMESPACE = "session-worker"
_VHOST = "/"
_CA = "/run/secrets/postgres-ca/ca.crt"


def all_secrets(namespace: str, prefix: str, console_tokens: str) -> list[dict[str, Any]]:
    """Make all of them, with a password for each user of each server."""
    broker = {actor: secrets.token_urlsafe(24) for actor in Actor}
    database = {role: secrets.token_urlsafe(24) for role in ("migrator", "worker", "console")}
    keys = f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"

    def amqp(actor: Actor) -> str:
        return f"amqp://{actor.value}:{broker[actor]}@rabbitmq.{namespace}.svc:5672/%2F"

    def servers(actor: Actor) -> dict[str, str]:
        return {
            "AMQP_URL": amqp(actor),
            "DATABASE_URL": _database_url(actor.value, database[actor.value], namespace),
            "MANAGEMENT_URL": f"http://{actor.value}:{broker[actor]}@rabbitmq.{namespace}.svc:15672",
            "WORKER_SEAL_KEYS": keys,
        }

    migrator = {"DATABASE_URL": _database_url("migrator", database["migrator"], namespace)}
    return [
        _secret("session-worker", servers(Actor.WORKER)),
        _secret("session-worker-console", {**servers(Actor.CONSOLE), "console.tokens": console_tokens}),
        _secret("session-worker-migrate", migrator),
        # For the namespaces of producers and subscribers.
        _secret("session-worker-producer", {"AMQP_URL": amqp(Actor.PRODUCER)}),
        _secret("session-worker-subscriber", {"AMQP_URL": amqp(Actor.SUBSCRIBER)}),
        _secret("rabbitmq-access", {"definitions.json": _definitions(prefix, broker)}),
        *(
            _secret(f"postgres-{role}", {"username": role, "password": word}, of_postgres=True)
            for role, word in database.items()
        ),
    ]


def _database_url(role: str, password: str, namespace: str) -> str:
    host = f"postgres-rw.{namespace}.svc:5432"
    return f"postgresql://{role}:{password}@{host}/sessions?sslmode=verify-full&sslrootcert={_CA}"


def _definitions(prefix: str, passwords: dict[Actor, str]) -> str:
    """Return the users of the broker and their rights, as `session-worker access rabbitmq` has them."""
    told: dict[str, list[Any]] = {"vhosts": [{"name": _VHOST}]}
    for actor, password in passwords.items():
        for kind, found in definitions(User(actor.value, actor, hashed(password)), prefix, _VHOST).items():
            told.setdefault(kind, []).extend(found)
    return json.dumps(told)


def _secret(name: str, content: dict[str, str], *, of_postgres: bool = False) -> dict[str, Any]:
    """Make one; CloudNativePG wants its own to be of a kind, and takes a changed one only with its label."""
    labels = {"labels": {"cnpg.io/reload": "true"}} if of_postgres else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/basic-auth" if of_postgres else "Opaque",
        "metadata": {"name": name, **labels},
        "stringData": content,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--console-tokens", type=Path, required=True, metavar="FILE")
    parser.add_argument("--namespace", default=NAMESPACE)
    parser.add_argument("--prefix", default="sessions", help="WORKER_PREFIX (default sessions)")
    options = parser.parse_args()
    made = all_secrets(options.namespace, options.prefix, options.console_tokens.read_text("utf-8"))
    for each in made:
        each["metadata"]["namespace"] = options.namespace
    json.dump({"apiVersion": "v1", "kind": "List", "items": made}, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
