// One connection to the broker, with the channel that publishes and the queue that answers come to.
import { randomUUID } from 'node:crypto';
import { type ChannelModel, type ConfirmChannel, type ConsumeMessage, connect, type SocketOptions } from 'amqplib';
import { BrokerUnreachable, RequestUnroutable } from './errors.js';
import type { Message } from './message.js';

/** What became of a publish: `refused` if the queue is full, `lost` if the connection was lost over it. */
export type Outcome = 'confirmed' | 'refused' | 'lost';

export interface LineOptions {
  url: string;
  exchange: string;
  appId: string;
  brokerUser: string | undefined;
  connectTimeout: number;
  tls: SocketOptions | undefined;
  onReply: (message: ConsumeMessage) => void;
}

/** An error with which the broker ends a channel, and the method that it is about. */
type Refusal = Error & { code?: number; classId?: number; methodId?: number };

export class Line {
  /** Why it is over, if it is. */
  over: string | undefined;
  /** Is told when it is over, before those who publish are. */
  onOver: (reason: string) => void = () => undefined;
  readonly #connection: ChannelModel;
  readonly #options: LineOptions;
  readonly #returned = new Set<string>(); // the message ids of what no queue takes
  #channel!: ConfirmChannel;
  #refusal: Refusal | undefined;
  #replyQueue: Promise<string> | undefined;

  static async open(options: LineOptions): Promise<Line> {
    const connection = await connect(options.url, {
      ...options.tls,
      timeout: options.connectTimeout,
      noDelay: true,
      clientProperties: { connection_name: options.appId },
    });
    const line = new Line(connection, options);
    try {
      line.#use(await connection.createConfirmChannel());
    } catch (error) {
      await line.close();
      throw error;
    }
    return line;
  }

  private constructor(connection: ChannelModel, options: LineOptions) {
    this.#connection = connection;
    this.#options = options;
    let reason = 'the connection was closed';
    connection.on('error', (error) => { reason = wordsOf(error); });
    connection.on('close', (error) => this.#end(error === undefined ? reason : wordsOf(error)));
  }

  #use(channel: ConfirmChannel): void {
    this.#channel = channel;
    channel.on('error', (error: Refusal) => { this.#refusal = error; });
    channel.on('return', ({ properties }) => this.#returned.add(properties.messageId));
    channel.on('close', () => {
      this.#end(this.#refusal === undefined ? 'the channel was closed' : wordsOf(this.#refusal));
      void this.close(); // the next line has a new one
    });
  }

  #end(reason: string): void {
    if (this.over !== undefined) return;
    this.over = reason;
    this.onOver(reason);
  }

  /** Publishes a message. With `answerHere` its response comes to this client, else to its `replyTo`. */
  async publish(message: Message, answerHere: boolean): Promise<Outcome> {
    const replyTo = answerHere ? await this.#ownQueue() : message.replyTo;
    if (answerHere && replyTo === undefined) return 'lost';
    const { exchange, appId, brokerUser } = this.#options;
    const messageId = randomUUID();
    return new Promise((resolve, reject) => {
      const confirmed = (error: Error | null) => {
        if (this.#returned.delete(messageId)) reject(new RequestUnroutable(exchange));
        else if (error === null) resolve('confirmed');
        else if (error.message === 'message nacked') resolve('refused');
        else if (isAboutPublishing(this.#refusal)) reject(this.#refused(this.#refusal));
        else resolve('lost');
      };
      try {
        this.#channel.publish(exchange, message.routingKey, message.body, {
          contentType: 'application/json',
          persistent: true,
          mandatory: true,
          type: message.type,
          messageId,
          correlationId: message.correlationId,
          timestamp: Math.floor(Date.now() / 1000),
          appId,
          headers: message.headers,
          ...(replyTo !== undefined && { replyTo }),
          ...(brokerUser !== undefined && { userId: brokerUser }),
        }, confirmed);
      } catch (error) {
        if (isClosed(error)) resolve('lost');
        else reject(error);
      }
    });
  }

  async close(): Promise<void> {
    await this.#connection.close().catch(() => undefined); // it may be closed already
  }

  /** Returns the reply queue: made for the first call, and gone with the connection. None if that is lost. */
  async #ownQueue(): Promise<string | undefined> {
    try {
      return await (this.#replyQueue ??= this.#openOwnQueue());
    } catch (error) {
      const refusal = error as Refusal;
      if (refusal.code === 403) throw this.#refused(refusal);
      return undefined;
    }
  }

  async #openOwnQueue(): Promise<string> {
    const { queue } = await this.#channel.assertQueue('', {
      exclusive: true,
      arguments: { 'x-queue-type': 'classic' },
    });
    await this.#channel.consume(queue, (message) => {
      if (message === null) void this.close(); // the broker has deleted the queue
      else this.#options.onReply(message);
    }, { noAck: true });
    return queue;
  }

  #refused(refusal: Refusal): Error {
    if (refusal.code === 404) return new RequestUnroutable(this.#options.exchange);
    return new BrokerUnreachable(`RabbitMQ refuses this user: ${wordsOf(refusal)}`);
  }
}

/** Returns what an error says. One about several addresses says nothing by itself. */
export function wordsOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(wordsOf).join('; ');
  return error instanceof Error && error.message !== '' ? error.message : String(error);
}

/** Tells whether a refusal is of a publish (class 60, method 40), for what will not change by itself. */
function isAboutPublishing(refusal: Refusal | undefined): refusal is Refusal {
  return refusal?.classId === 60 && refusal.methodId === 40 && [403, 404, 406].includes(refusal.code ?? 0);
}

function isClosed(error: unknown): boolean {
  return error instanceof Error && error.name === 'IllegalOperationError';
}
