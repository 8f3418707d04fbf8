// The client's line to the broker, opened again whenever it is lost.
import { setTimeout as sleep } from 'node:timers/promises';
import { BrokerUnreachable, ClientClosed } from './errors.js';
import { Line, type LineOptions, wordsOf } from './line.js';

interface Waiter {
  resolve: (line: Line) => void;
  reject: (error: Error) => void;
}

const SHORTEST_PAUSE = 100;
const LONGEST_PAUSE = 5000;

export class Link {
  /** Why there is no connection. */
  reason = 'no connection yet';
  readonly #options: LineOptions;
  readonly #onUp: () => void;
  readonly #closing = new AbortController();
  #line: Line | undefined;
  #opening: Promise<void> | undefined;
  #waiting: Waiter[] = [];
  #everUp = false;

  constructor(options: LineOptions, onUp: () => void) {
    this.#options = options;
    this.#onUp = onUp;
  }

  get connected(): boolean {
    return this.#line !== undefined;
  }

  /** Returns the line that there is, or the next one. */
  async line(): Promise<Line> {
    if (this.#closing.signal.aborted) throw new ClientClosed('the client is closed');
    if (this.#line !== undefined) return this.#line;
    this.#open();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#settle(({ reject }) => reject(new ClientClosed('the client was closed')));
    await this.#line?.close();
  }

  #open(): void {
    this.#opening ??= this.#openUntilUp().finally(() => { this.#opening = undefined; });
  }

  /** Tries until there is a line. Before the first one, it ends after the time to connect, or when refused. */
  async #openUntilUp(): Promise<void> {
    const begun = Date.now();
    let pause = this.#everUp ? SHORTEST_PAUSE : 0;
    while (!this.#closing.signal.aborted) {
      // Full jitter: many clients do not come back as one wave.
      await sleep(pause * Math.random(), undefined, { signal: this.#closing.signal }).catch(() => undefined);
      pause = Math.max(SHORTEST_PAUSE, Math.min(2 * pause, LONGEST_PAUSE));
      try {
        return this.#use(await Line.open(this.#options));
      } catch (error) {
        this.reason = wordsOf(error);
        const late = Date.now() - begun + pause > this.#options.connectTimeout;
        if (!this.#everUp && (late || isRefusal(this.reason))) {
          const unreachable = new BrokerUnreachable(`RabbitMQ cannot be reached: ${this.reason}`);
          return this.#settle(({ reject }) => reject(unreachable));
        }
      }
    }
  }

  #use(line: Line): void {
    if (this.#closing.signal.aborted) return void line.close();
    if (line.over !== undefined) throw new Error(line.over);
    line.onOver = (reason) => {
      this.reason = reason;
      this.#line = undefined;
      if (!this.#closing.signal.aborted) this.#open();
    };
    this.#line = line;
    this.#everUp = true;
    this.#settle(({ resolve }) => resolve(line));
    this.#onUp();
  }

  #settle(each: (waiter: Waiter) => void): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    waiting.forEach(each);
  }
}

/** Tells whether the broker refuses the user, the password or the vhost. */
function isRefusal(words: string): boolean {
  return /terminated by server: (403|530)/.test(words);
}
