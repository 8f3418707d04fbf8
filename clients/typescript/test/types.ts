// What must not compile: each error that is expected here and does not come is an error of its own.
import { type Client, type CreateSessionPayload, SessionFailed } from 'session-worker-client';

export const good: CreateSessionPayload = {
  name: 'Support',
  assistant: { model: { provider: 'anthropic', model: 'claude-sonnet-4-20250514', max_tokens: 100, top_k: 5 } },
  messages: [{ role: 'user', message: 'Hello', time: 0, end_time: 1, seconds_from_start: 0 }],
};

export const wrong: CreateSessionPayload[] = [
  // @ts-expect-error: a field that there is not
  { nmae: 'Support' },
  // @ts-expect-error: the other spelling
  { expirationSeconds: 60 },
  // @ts-expect-error: another kind of value
  { name: 17 },
  // @ts-expect-error: a provider that there is not
  { assistant: { model: { provider: 'nobody', model: 'x' } } },
  // @ts-expect-error: the second spelling of a known field, where unknown fields are kept
  { assistant: { model: { provider: 'custom-llm', model: 'x', url: 'https://example.org', maxTokens: 100 } } },
  // @ts-expect-error: a message without its role
  { messages: [{ message: 'Hello' }] },
];

export async function outcomes(client: Client): Promise<string | undefined> {
  // @ts-expect-error: there is no request without an organisation
  await client.call({ payload: {} });
  const { response, cancelled } = await client.cancel({ orgId: 'org-1', key: 'order-17' });
  // @ts-expect-error: only of a failed response is the code known
  if (cancelled) return response.metadata.code satisfies string;
  try {
    const done = await client.call({ orgId: 'org-1' });
    const nothing: null = done.error; // it is completed, or an error was thrown
    return nothing ?? done.payload.session_id;
  } catch (error) {
    if (!(error instanceof SessionFailed)) throw error;
    const reason: string = error.response.error;
    // @ts-expect-error: what a handler adds is of any kind
    const seats: string = error.metadata['reason_code'];
    return error.code === 'cancelled' ? undefined : reason + seats;
  }
}
