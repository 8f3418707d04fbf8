// The errors that a call can end with.
import type { FailedResponse, FailureCode, FailureMetadata, FieldError } from './types.js';

/** The base of every error that this package throws on purpose. */
export class ClientError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** The response says that there is no session: `code` says why for programs, `reason` for people. */
export class SessionFailed extends ClientError {
  readonly response: FailedResponse;
  readonly requestId: string;
  /** A worker newer than this package may know more codes. */
  readonly code: FailureCode | (string & {});
  readonly reason: string;
  /** What is wrong with which field; empty unless the code is `invalid_request`. */
  readonly errors: readonly FieldError[];
  /** What a handler says of a `rejected` request is here too, as `reason_code` and `details`. */
  readonly metadata: FailureMetadata & Record<string, unknown>;

  constructor(response: FailedResponse) {
    const { code, errors = [] } = response.metadata;
    const fields = errors.map(({ field, reason }) => `; ${field} ${reason}`).join('');
    super(`request ${response.request_id} failed (${code}): ${response.error}${fields}`);
    this.response = response;
    this.requestId = response.request_id;
    this.code = code;
    this.reason = response.error;
    this.errors = errors;
    this.metadata = { ...response.metadata };
  }
}

/** No response came in time. It is not known whether there is a session. */
export class RequestTimedOut extends ClientError {
  readonly requestId: string;

  constructor(what: string, requestId: string, milliseconds: number, connection: string, remedy: string) {
    super(`no answer to ${what} ${requestId} within ${milliseconds} ms${connection}. ${remedy}`);
    this.requestId = requestId;
  }
}

/** The broker has nowhere to put a request: nothing was sent. */
export class RequestUnroutable extends ClientError {
  constructor(exchange: string) {
    super(
      `the broker has no queue for requests behind the exchange '${exchange}': ` +
        'run `session-worker topology apply`, or check the prefix',
    );
  }
}

/** This client waits for a request with the same id and other content: nothing was sent. */
export class RequestInFlight extends ClientError {
  readonly requestId: string;

  constructor(requestId: string) {
    super(`request ${requestId} is in flight with other content: one id, one request`);
    this.requestId = requestId;
  }
}

/** The message that came back is no response of this contract. */
export class ResponseUnreadable extends ClientError {}

/** There was no connection to the broker within the time to connect, or it refuses this user. */
export class BrokerUnreachable extends ClientError {}

/** The client was closed while this call was waiting. */
export class ClientClosed extends ClientError {}
