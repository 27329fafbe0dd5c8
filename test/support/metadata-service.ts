// The service behind the metadata addresses, run inside the namespace of metadata-namespace.ts. It answers every path: what must
// not pass is told from what may by the proxy alone.
import http from 'node:http';
import { startTestDns } from './dns.ts';
import { ADDRESSES } from './metadata-namespace.ts';

const PORT = 80;

const dns = await startTestDns();
dns.set('metadata.google.internal', ['169.254.169.254']);
for (const address of ADDRESSES) {
  const server = http.createServer((request, response) => {
    process.stdout.write(`reached ${request.method} ${address} ${request.url}\n`);
    const { url = '' } = request;
    if (/credential|iam|token|service-accounts|user-data/i.test(url) && url !== '/latest/api/token')
      return response.end('SECRET');
    if (url === '/latest/api/token') return response.end('session-token');
    return response.end(`answer to ${url}`);
  });
  await new Promise<void>((resolve) => server.listen(PORT, address, resolve));
}
process.stdout.write(`ready ${dns.address}\n`);
