// Ask for a session and wait for the response; or read the responses of everybody.
//
//   npm ci
//   AMQP_URL=amqp://user:password@host:5672/%2F node create_session.mjs           # ask and wait
//   AMQP_URL=… node create_session.mjs subscribe [how-many]                       # read responses
import { randomUUID } from 'node:crypto';
import amqp from 'amqplib';

const PREFIX = process.env.PREFIX ?? 'sessions';
const TIMEOUT = 30_000; // milliseconds

// Publish a request and wait for the one response that belongs to it.
async function ask(connection) {
  const channel = await connection.createConfirmChannel();
  // The id makes the request idempotent: sent again with the same content, there is still one session.
  const requestId = process.env.REQUEST_ID ?? randomUUID();
  const request = {
    request_id: requestId,
    org_id: 'org-1',
    operation: 'create_session',
    payload: { name: 'From Node', expiration_seconds: 3600 },
  };
  // A queue of our own for the response. It lives as long as this connection.
  const { queue } = await channel.assertQueue('', { exclusive: true });
  const response = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`no response to ${requestId}: safe to ask again with this id`)), TIMEOUT).unref();
    channel.on('return', () => reject(new Error(`nothing is behind ${PREFIX}.requests: does a worker run?`)));
    channel.consume(queue, (message) => {
      if (message?.properties.correlationId === requestId) resolve(JSON.parse(message.content));
    }, { noAck: true }).catch(reject);
  });
  channel.publish(`${PREFIX}.requests`, 'create', Buffer.from(JSON.stringify(request)), {
    type: 'CreateSessionRequest',
    contentType: 'application/json',
    persistent: true,
    mandatory: true,
    correlationId: requestId,
    replyTo: queue,
    // Nobody waits any longer than this, so no worker needs to begin it after that.
    headers: { deadline: Date.now() + TIMEOUT },
  });
  const confirmed = channel.waitForConfirms(); // rejects unless the broker has taken the request
  return (await Promise.all([response, confirmed]))[0];
}

// Read responses to requests that named no reply queue, each one once.
async function subscribe(connection, howMany) {
  const channel = await connection.createChannel();
  const seen = new Set(); // a response may come more than once, always with the same messageId
  // Who takes a few brings none ahead: it would go back, and keep others waiting.
  await channel.prefetch(Number.isFinite(howMany) ? 1 : 100);
  await new Promise((resolve, reject) => {
    channel.consume(`${PREFIX}.responses`, async (message) => {
      if (!seen.has(message.properties.messageId)) {
        seen.add(message.properties.messageId);
        console.log(JSON.stringify(JSON.parse(message.content)));
      }
      const enough = seen.size === howMany;
      if (enough) await channel.cancel(message.fields.consumerTag); // before the last ack, which brings the next
      channel.ack(message); // only now: what is not acknowledged comes again
      if (enough) resolve();
    }).catch(reject);
  });
  await channel.close();
}

const connection = await amqp.connect(process.env.AMQP_URL);
try {
  if (process.argv[2] === 'subscribe') {
    await subscribe(connection, Number(process.argv[3] ?? Infinity));
  } else {
    const response = await ask(connection);
    console.log(JSON.stringify(response));
    if (response.status === 'failed') { // metadata.code is for programs, error for people
      console.error(`${response.metadata.code}: ${response.error}`);
      process.exitCode = 1;
    }
  }
} finally {
  await connection.close();
}
