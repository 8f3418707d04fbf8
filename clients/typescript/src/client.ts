// The client that programs call: it asks for sessions, waits for the responses, and cancels requests.
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { ConsumeMessage, SocketOptions } from 'amqplib';
import { ClientClosed, RequestInFlight, RequestTimedOut, ResponseUnreadable, SessionFailed } from './errors.js';
import { Link } from './link.js';
import { cancellationOf, type Message, messageOf, requestIdFor, type SessionRequest } from './message.js';
import type { CompletedResponse, CreateSessionResponse } from './types.js';

export interface ClientOptions {
  /** What the names of the installation's queues begin with. */
  prefix?: string;
  /** The name of your program; the broker shows it. */
  appId?: string;
  /** The user in the URL, for workers that go by who sends (`not_allowed`). */
  brokerUser?: string;
  /** Milliseconds until the first connection. One that is lost later is waited for. */
  connectTimeout?: number;
  /** Options of the socket, as `ca` and `servername` for an `amqps:` URL. */
  tls?: SocketOptions;
}

/** How long a call waits, in milliseconds: 30,000 if nothing is said. More than 24 days, as `Infinity`, is for ever. */
export interface Patience {
  timeout?: number;
}

export interface Call extends SessionRequest, Patience {}

export interface Submission extends SessionRequest, Patience {
  /** The queue that gets the response. Without it, all who read the installation's responses share it. */
  replyTo?: string;
  /** No worker begins it later. */
  deadline?: Date;
}

/** A request is named by its id, or by its key in an organisation. */
export type Named = { requestId: string } | { orgId: string; key: string };

/** The end of a request that was to be cancelled. `cancelled` is false if it had ended in another way before. */
export interface Ending {
  cancelled: boolean;
  response: CreateSessionResponse;
}

const PATIENCE = 30_000;
const LONGEST_TIMER = 2 ** 31 - 1;

/** A message whose response is waited for, and by how many. */
class Waiting {
  readonly message: Message;
  readonly response: Promise<CreateSessionResponse>;
  readonly #resolve: (response: CreateSessionResponse) => void;
  readonly #reject: (error: Error) => void;
  callers = 0;
  sending = false;
  over = false;

  constructor(message: Message) {
    this.message = message;
    let resolve: (response: CreateSessionResponse) => void;
    let reject: (error: Error) => void;
    this.response = new Promise((onResponse, onError) => {
      resolve = onResponse;
      reject = onError;
    });
    this.#resolve = resolve!;
    this.#reject = reject!;
    this.response.catch(() => undefined); // nobody may be left to ask for it
  }

  end(outcome: CreateSessionResponse | Error): void {
    this.over = true;
    if (outcome instanceof Error) this.#reject(outcome);
    else this.#resolve(outcome);
  }
}

/** Sends requests and receives their responses. One serves a whole program, and connects with its first call.
 *
 * A broker that goes away is waited for: what has no response yet is sent again with the same id, which never
 * makes a second session. */
export class Client {
  readonly #link: Link;
  readonly #waiting = new Map<string, Waiting>();

  constructor(url: string, options: ClientOptions = {}) {
    this.#link = new Link(
      {
        url: withHeartbeat(url),
        exchange: `${options.prefix ?? 'sessions'}.requests`,
        appId: options.appId ?? 'session-client',
        brokerUser: options.brokerUser,
        connectTimeout: options.connectTimeout ?? 10_000,
        tls: options.tls,
        onReply: (message) => this.#onReply(message),
      },
      () => this.#sendAgain(),
    );
  }

  /** Asks for a session and returns the response: there is one. Throws `SessionFailed` when there is none, and
   * `RequestTimedOut` when that is not known in time: the same request may then be asked again, by its id or
   * key. After `timeout` no worker begins the request any more. */
  async call({ timeout = PATIENCE, ...request }: Call): Promise<CompletedResponse> {
    const deadline = timeout <= LONGEST_TIMER ? new Date(Date.now() + timeout) : undefined;
    const response = await this.#ask(messageOf(request, { deadline }), timeout);
    if (response.status === 'failed') throw new SessionFailed(response);
    return response;
  }

  /** Publishes a request and returns its id once the broker has confirmed it: it will be answered. */
  async submit({ timeout = PATIENCE, replyTo, deadline, ...request }: Submission): Promise<string> {
    const message = messageOf(request, { deadline, replyTo });
    let late = false;
    try {
      await within(timeout, this.#deliver(message, false, () => late), () => this.#late(message, timeout));
    } finally {
      late = true;
    }
    return message.requestId;
  }

  /** Cancels a request that is not finished, and returns how it ended. `reason` is told to who asked for it.
   * Throws `SessionFailed` when this says nothing of the request: it is another organisation's, for instance. */
  async cancel({ reason, timeout = PATIENCE, ...named }: Named & Patience & { reason?: string }): Promise<Ending> {
    const requestId = 'requestId' in named ? named.requestId : requestIdFor(named.orgId, named.key);
    const response = await this.#ask(cancellationOf(requestId, reason), timeout);
    if (response.status === 'completed') return { cancelled: false, response };
    const { code, recorded } = response.metadata;
    if (recorded === false || code === 'not_allowed') throw new SessionFailed(response);
    return { cancelled: code === 'cancelled', response };
  }

  /** Ends the calls that still wait with `ClientClosed`, and the connection. */
  async close(): Promise<void> {
    for (const waiting of this.#waiting.values()) {
      waiting.end(new ClientClosed('the client was closed before the response came'));
    }
    await this.#link.close();
  }

  async #ask(message: Message, timeout: number): Promise<CreateSessionResponse> {
    const waiting = this.#join(message);
    waiting.callers += 1;
    try {
      return await within(timeout, waiting.response, () => this.#late(message, timeout));
    } finally {
      waiting.callers -= 1;
      if (waiting.callers === 0) {
        waiting.over = true;
        this.#waiting.delete(message.correlationId);
      }
    }
  }

  /** Two that ask for the same request wait for the same response. */
  #join(message: Message): Waiting {
    const known = this.#waiting.get(message.correlationId);
    if (known !== undefined) {
      if (!isDeepStrictEqual(known.message.content, message.content)) throw new RequestInFlight(message.requestId);
      return known;
    }
    const waiting = new Waiting(message);
    this.#waiting.set(message.correlationId, waiting);
    this.#send(waiting);
    return waiting;
  }

  #send(waiting: Waiting): void {
    waiting.sending = true;
    this.#deliver(waiting.message, true, () => waiting.over).then(
      () => { waiting.sending = false; },
      (error: Error) => waiting.end(error),
    );
  }

  /** On a new connection, sends what waits for a response: the reply queue of the old one is gone with it. What
   * is still being sent names the new queue by itself. */
  #sendAgain(): void {
    for (const waiting of this.#waiting.values()) {
      if (!waiting.sending && !waiting.over) this.#send(waiting);
    }
  }

  /** Publishes until the broker has confirmed, over as many connections as that takes, unless it is over. */
  async #deliver(message: Message, answerHere: boolean, over: () => boolean): Promise<void> {
    let pause = 100;
    while (!over()) {
      const line = await this.#link.line();
      if (over()) return;
      const outcome = await line.publish(message, answerHere);
      if (outcome === 'confirmed') return;
      if (outcome === 'lost') continue; // and with it the line: there will be another one
      await sleep(pause * (0.1 + 0.9 * Math.random())); // the queue is full
      pause = Math.min(2 * pause, 5000);
    }
  }

  #onReply({ properties, content }: ConsumeMessage): void {
    const waiting = this.#waiting.get(properties.correlationId);
    if (waiting === undefined || waiting.over) return; // a second copy, or nobody waits any more
    waiting.end(responseIn(content) ?? new ResponseUnreadable(
      `the reply to request ${waiting.message.requestId} is no CreateSessionResponse`,
    ));
  }

  #late({ type, requestId }: Message, timeout: number): RequestTimedOut {
    const connection = this.#link.connected ? '' : `, without a connection to RabbitMQ (${this.#link.reason})`;
    return type === 'CreateSessionRequest'
      ? new RequestTimedOut('request', requestId, timeout, connection,
          'It is safe to ask again with this id: there is never more than one session for it')
      : new RequestTimedOut('the cancellation of request', requestId, timeout, connection,
          'Cancel it again: to do so twice is safe');
  }
}

/** Waits so long for an outcome, then throws what `late` makes. */
async function within<T>(milliseconds: number, outcome: Promise<T>, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    if (milliseconds <= LONGEST_TIMER) timer = setTimeout(() => reject(late()), milliseconds);
  });
  try {
    return await Promise.race([outcome, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

/** Reads a response as far as this package relies on it: what is new in it stays there. */
function responseIn(content: Buffer): CreateSessionResponse | undefined {
  let read: Partial<CreateSessionResponse> | null;
  try {
    read = JSON.parse(content.toString('utf8'));
  } catch {
    return undefined;
  }
  const completed = read?.status === 'completed';
  const failed = read?.status === 'failed' && typeof read.metadata?.code === 'string';
  if (!(completed || failed) || typeof read?.payload?.session_id !== 'string') return undefined;
  return read as CreateSessionResponse;
}

/** A broker that is gone without a word is noticed after some 20 seconds, unless the URL says otherwise. */
function withHeartbeat(url: string): string {
  if (!URL.canParse(url)) throw new TypeError('the URL of the broker is none: it has to be like amqp://user:password@host:5672/%2F');
  const parsed = new URL(url);
  if (!parsed.searchParams.has('heartbeat')) parsed.searchParams.set('heartbeat', '10');
  return parsed.href;
}
