#!/usr/bin/env bash
# Ask for a session with nothing but curl, through RabbitMQ's management API, and wait for the response.
# To try things out by hand: the API is slow, and a program should speak AMQP.
#
#   MANAGEMENT_URL=http://user:password@host:15672 ./curl.sh
#   MANAGEMENT_URL=… ./curl.sh subscribe        # print the responses that lie in <prefix>.responses
set -euo pipefail

: "${MANAGEMENT_URL:?set MANAGEMENT_URL, as http://user:password@host:15672}"
prefix=${PREFIX:-sessions}
timeout=30   # seconds
vhost=%2F    # the virtual host "/"

api() { curl --silent --show-error --fail -H 'content-type: application/json' -X "$1" "$MANAGEMENT_URL/api/$2" "${@:3}"; }

# A message comes as JSON with its body as text in "payload". Reading it here takes it from the queue.
take() { api POST "queues/$vhost/$1/get" -d '{"count":1,"ackmode":"ack_requeue_false","encoding":"auto"}'; }

if [[ ${1:-} == subscribe ]]; then
  # Several copies of one response have the same "message_id": keep the first.
  until found=$(take "$prefix.responses"); [[ $found == '[]' ]]; do printf '%s\n' "$found"; done
  exit
fi

# The id makes the request idempotent: sent again with the same content, there is still one session.
id=${REQUEST_ID:-$(cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen | tr A-Z a-z)}
deadline=$(( ($(date +%s) + timeout) * 1000 ))   # no worker begins it after that

# A queue for the response. Other than in AMQP it cannot be exclusive, so it gets a time of its own to live.
reply=reply.$id
api PUT "queues/$vhost/$reply" -d '{"durable":true,"arguments":{"x-expires":120000}}'
trap 'api DELETE "queues/$vhost/$reply" >/dev/null' EXIT

routed=$(api POST "exchanges/$vhost/$prefix.requests/publish" -d @- <<JSON
{
  "routing_key": "create",
  "payload_encoding": "string",
  "payload": "{\"request_id\":\"$id\",\"org_id\":\"org-1\",\"operation\":\"create_session\",\"payload\":{\"name\":\"From curl\"}}",
  "properties": {
    "type": "CreateSessionRequest",
    "content_type": "application/json",
    "delivery_mode": 2,
    "correlation_id": "$id",
    "reply_to": "$reply",
    "headers": {"deadline": $deadline}
  }
}
JSON
)
[[ $routed == *'"routed":true'* ]] || { echo "nothing is behind $prefix.requests: does a worker run?" >&2; exit 1; }

while (( $(date +%s) * 1000 < deadline )); do
  found=$(take "$reply")
  if [[ $found != '[]' ]]; then
    printf '%s\n' "$found"
    # The body is text inside JSON, so its quotes are escaped.
    [[ $found == *'\"status\":\"completed\"'* ]] && exit 0
    exit 1
  fi
  sleep 0.2
done
echo "no response to $id in $timeout s: it is safe to ask again with this id" >&2
exit 1
