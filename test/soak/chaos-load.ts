// The clients of chaos.test.ts, with their name server and their origin, as a process inside the network that the test made.
//   node chaos-load.ts RESULT-FILE BALANCER-PORT
// It says `ready DNS-ADDRESS`, begins at SIGUSR2, and at SIGTERM finishes what it is about and writes down what it asked and what it was
// told. Every request has a name of its own, so that each can be found in the logs.
import { writeFileSync } from 'node:fs';
import { startTestDns } from '../support/dns.ts';
import { BALANCER, clientAddress, ORIGIN } from '../support/lan.ts';
import { echo, startOrigin } from '../support/origin.ts';
import { RawClient } from '../support/raw-client.ts';

const [, , file = '', balancer = ''] = process.argv;
const CLIENTS = 8;
const PORT = 443;
/** Of a test that forgot it, or died. */
const LIFE_MS = 3_600_000;

/** One request: its name, its answer where one came, and the bytes of the whole exchange where all of it came. */
export interface Asked {
  readonly host: string;
  status?: number;
  bytes?: number;
}

const asked: Asked[] = [];
let going = true;
const dns = await startTestDns(0, BALANCER);
const origin = await startOrigin(echo, { host: ORIGIN, port: PORT });

async function ask(client: number, n: number): Promise<void> {
  const refused = n % 5 === 4;
  const request: Asked = { host: `c${client}-${n}.${refused ? 'refused' : 'allowed'}.test` };
  if (!refused) dns.set(request.host, [ORIGIN]);
  const socket = await RawClient.connect(
    { host: BALANCER, port: Number(balancer) },
    { localAddress: clientAddress(n) },
  );
  try {
    asked.push(request);
    socket.send(`CONNECT ${request.host}:${PORT} HTTP/1.1\r\nHost: ${request.host}:${PORT}\r\n\r\n`);
    request.status = (await socket.readHead()).status;
    if (request.status === 200) {
      const bytes = 1 + (n % 5_000);
      socket.send('x'.repeat(bytes));
      await socket.read(bytes);
      socket.end();
      await socket.readAll();
      request.bytes = bytes;
    }
  } finally {
    socket.close();
  }
}

async function run(client: number): Promise<void> {
  // A node that dies takes its connections with it: then the next one is asked.
  for (let n = 0; going; n++) await ask(client, n).catch(() => {});
}

process.once('SIGUSR2', async () => {
  process.once('SIGTERM', () => {
    going = false;
  });
  await Promise.all(Array.from({ length: CLIENTS }, (_, client) => run(client)));
  writeFileSync(file, JSON.stringify(asked));
  await origin.close();
  await dns.close();
  clearTimeout(life);
});
const life = setTimeout(() => process.exit(1), LIFE_MS);
process.stdout.write(`ready ${dns.address}\n`);
