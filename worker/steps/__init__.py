"""A request's way, one step a file; `pipeline` tells it.

1 lanes → 2 sorting → 3 accepting → 4 creating → 5 finishing → 6 answering → 7 settled by rabbitmq/intake

- beside them: cancelling, burying, reading_apart, attempting (what is tried again comes in at step 4)
- what they share: slots, verdicts, failure, retry_rule, halving
"""
