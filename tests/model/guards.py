"""Names the guards of the protocol, which a test removes one by one, and the faults that there are."""

from typing import Final

GUARDS: Final = {
    "fence": "a verdict is stored, and an attempt claimed, only if the attempt is still the current one",
    "one end": "only what is processing is finished",
    "one row": "a request that is on record is not inserted again",
    "one session": "a second session for a request is refused",
    "lease at insert": "nothing is inserted under a lease that another worker has taken over",
    "lease at claim": "only under a lease of its own a worker claims the next attempt",
    "own release": "a worker removes only leases that are its own",
    "answer of the record": "a request that was finished before is answered from the record",
    "known insert": "an insert whose answer was lost is recognised",
    "known claim": "a claim whose answer was lost is recognised",
    "ended meanwhile": "who holds a request that has ended, by a lost statement or by another, answers it",
    "record before acknowledge": "a delivery is acknowledged only when its request is on record",
    "publish before acknowledge": "a delivery is acknowledged only when its response is confirmed",
    "confirm before done": "a lease is done only when its responses are confirmed, or on record as waiting",
    "refused waits": "a response that no queue takes waits on record",
    "looked at later": "what is finished or begun under no lease is looked at later",
    "noted loss": "the next attempt begins together with the note why the last one came to nothing",
    "finished only": "retention deletes finished requests only",
}

FAULTS: Final = (
    "dies", "stops", "freezes", "loses its channel", "answer lost", "confirm lost", "refused", "halved",
    "put off", "rejected", "has to wait", "sent again", "cancelled", "late", "deleted as old",
)  # fmt: skip
