// Does with clients what the tests say, a line of JSON for each order and for each outcome.
import { createInterface } from 'node:readline';
import { type Call, Client, type ClientOptions, type Named, requestIdFor, type Submission } from 'session-worker-client';

type Order = { id: number; client: string } & (
  | { do: 'open'; url: string; options: ClientOptions }
  | { do: 'call'; request: Call }
  | { do: 'submit'; request: Submission }
  | { do: 'cancel'; request: Named & { reason?: string; timeout?: number } }
  | { do: 'close' }
  | { do: 'id'; orgId: string; key: string }
  | { do: 'import'; file: string }
);

const clients = new Map<string, Client>();

async function obey(order: Order): Promise<unknown> {
  switch (order.do) {
    case 'open':
      clients.set(order.client, new Client(order.url, order.options));
      return undefined;
    case 'call':
      return known(order.client).call(order.request);
    case 'submit':
      return known(order.client).submit(order.request);
    case 'cancel':
      return known(order.client).cancel(order.request);
    case 'close':
      return known(order.client).close();
    case 'id':
      return requestIdFor(order.orgId, order.key);
    case 'import':
      await import(order.file);
      return undefined;
  }
}

function known(name: string): Client {
  const client = clients.get(name);
  if (client === undefined) throw new Error(`there is no client ${name}`);
  return client;
}

function told(id: number, outcome: object): void {
  process.stdout.write(`${JSON.stringify({ id, ...outcome })}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line) as Order;
  obey(order).then(
    (value) => told(order.id, { value }),
    (error: Error) => told(order.id, { error: { ...error, name: error.name, message: error.message } }),
  );
}
