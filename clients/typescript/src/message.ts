// Makes a message of a request, or of a cancellation.
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import type { CancelSessionRequest, CreateSessionPayload, CreateSessionRequest } from './types.js';

/** A session that is asked for. Without an id and a key, each one is a new request. */
export interface SessionRequest {
  orgId: string;
  payload?: CreateSessionPayload;
  userId?: string;
  /** A UUID of yours: asked again with it, there is still one session. */
  requestId?: string;
  /** Your own name for the request, unique in the organisation, in place of an id: see `requestIdFor`. */
  key?: string;
  metadata?: Record<string, unknown>;
  /** No worker begins it earlier. */
  notBefore?: Date;
  traceparent?: string;
}

/** What is published. Sent again, it is the same. */
export interface Message {
  readonly requestId: string;
  /** What the response is found by. */
  readonly correlationId: string;
  readonly routingKey: 'create' | 'cancel';
  readonly type: 'CreateSessionRequest' | 'CancelSessionRequest';
  /** What is asked for: the body without the time at which it was made. */
  readonly content: CreateSessionRequest | CancelSessionRequest;
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly replyTo: string | undefined;
}

/** Where a request's answer goes, and until when it is wanted. */
export interface Terms {
  deadline?: Date | undefined;
  replyTo?: string | undefined;
}

const NAMESPACE = '9b1f194e-afb4-5f24-b84f-0eea5a5a2489';
// A broker closes the channel, and with it what else is being sent, over a larger message.
const MAX_BODY_BYTES = 16 * 1024 * 1024;

/** Returns the request id that a key stands for, the same in every language: the same key, the same request. */
export function requestIdFor(orgId: string, key: string): string {
  return version5(version5(NAMESPACE, orgId), key);
}

export function messageOf(request: SessionRequest, { deadline, replyTo }: Terms): Message {
  const { orgId, payload, userId, metadata, notBefore, traceparent } = request;
  const requestId = identityOf(request);
  const content: CreateSessionRequest = {
    request_id: requestId,
    org_id: orgId,
    operation: 'create_session',
    payload: payload ?? {},
    ...(userId !== undefined && { user_id: userId }),
    ...(metadata !== undefined && { metadata }),
  };
  return {
    requestId,
    correlationId: requestId,
    routingKey: 'create',
    type: 'CreateSessionRequest',
    content,
    body: encoded({ ...content, timestamp: new Date().toISOString() }),
    headers: {
      ...(deadline !== undefined && { deadline: deadline.getTime() }),
      ...(notBefore !== undefined && { not_before: notBefore.getTime() }),
      ...(traceparent !== undefined && { traceparent }),
    },
    replyTo,
  };
}

export function cancellationOf(requestId: string, reason: string | undefined): Message {
  const content: CancelSessionRequest = {
    request_id: requestId,
    operation: 'cancel_session',
    ...(reason !== undefined && { reason }),
  };
  return {
    requestId,
    correlationId: `cancel-${randomUUID()}`,
    routingKey: 'cancel',
    type: 'CancelSessionRequest',
    content,
    body: encoded(content),
    headers: {},
    replyTo: undefined,
  };
}

function identityOf({ orgId, requestId, key }: SessionRequest): string {
  if (requestId !== undefined && key !== undefined) {
    throw new TypeError('give a requestId or a key, not both: the key is another way to say the id');
  }
  if (key !== undefined) return requestIdFor(orgId, key);
  return requestId?.toLowerCase() ?? version7();
}

function encoded(document: CreateSessionRequest | CancelSessionRequest): Buffer {
  const body = Buffer.from(JSON.stringify(document));
  if (body.length > MAX_BODY_BYTES) {
    throw new RangeError(`the request has ${body.length} bytes, more than the ${MAX_BODY_BYTES} that can be sent`);
  }
  return body;
}

function version5(namespace: string, name: string): string {
  const parent = Buffer.from(namespace.replaceAll('-', ''), 'hex');
  return uuid(createHash('sha1').update(parent).update(name, 'utf8').digest().subarray(0, 16), 5);
}

// It begins with the time: the worker's tables stay faster than with random ids.
function version7(): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  return uuid(bytes, 7);
}

function uuid(bytes: Buffer, version: number): string {
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | (version << 4), 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
