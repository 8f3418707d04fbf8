export * from './client.js';
export * from './errors.js';
export { requestIdFor, type SessionRequest } from './message.js';
export type * from './types.js';
