// How a PostgreSQL store is trusted and how it is told who we are: TLS by the host's name, passwords from a file and the
// environment, against a real server. What is not the server of the URL learns nothing.
import { afterEach, expect, it, vi } from 'vitest';
import { type PostgresPlace, parsePostgresUrl, showStore } from '../../src/config/store-place.ts';
import { openStore } from '../../src/usage/store.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';

const PASSWORD = 'geheim 42';

afterEach(() => vi.unstubAllEnvs());

function place(url: string, passwordFile: string | null = null): PostgresPlace {
  const parsed = parsePostgresUrl(url);
  if ('problem' in parsed) throw new Error(parsed.problem);
  return { ...parsed.place, passwordFile };
}

const opened = async (at: PostgresPlace) => (await openStore(at, 'write', 10_000)).close();

it.skipIf(postgresBin === null)(
  'verifies the server and keeps the password (skipped where postgresql is not installed)',
  {
    timeout: 120_000,
  },
  async () => {
    const server = await Postgres.start();
    const port = await server.overTls(certificateFor(['localhost']), PASSWORD);
    await server.kill();
    await server.restart();
    const url = (host: string, sslmode: string, who = 'sallyport') =>
      `postgres://${who}@${host}:${port}/postgres?sslmode=${sslmode}&sslrootcert=${encodeURIComponent(testCa().caFile)}`;
    const file = writeFile(`${tempDir('pg')}/password`, `${PASSWORD}\n`, 0o600);

    await opened(place(url('localhost', 'verify-full'), file));
    await opened(place(url('localhost', 'verify-full', `sallyport:${encodeURIComponent(PASSWORD)}`)));
    vi.stubEnv('PGPASSWORD', PASSWORD);
    await opened(place(url('localhost', 'verify-full')));
    // The certificate is of localhost, not of the address.
    await expect(opened(place(url('127.0.0.1', 'verify-full')))).rejects.toMatchObject({ code: 'store-unreadable' });
    await opened(place(url('127.0.0.1', 'verify-ca')));
    const strange = `postgres://sallyport@localhost:${port}/postgres`;
    await expect(opened(place(`${strange}?sslmode=verify-full`))).rejects.toThrow(/certificate/);
    await opened(place(`${strange}?sslmode=require`));
    // The server has no other way in.
    await expect(opened(place(`${strange}?sslmode=disable`))).rejects.toThrow(/pg_hba/);
    vi.stubEnv('PGPASSWORD', 'another');
    const refused = opened(place(url('localhost', 'verify-full')));
    await expect(refused).rejects.toThrow(/password authentication failed/);
    await expect(refused).rejects.not.toThrow(/another/);
  },
);

it.each([
  ['postgres://u:p%40ss@db.example/d', 'verify-full', 'postgres://u@db.example:5432/d'],
  ['postgresql://u@[2001:db8::1]:5433/d', 'verify-full', 'postgres://u@[2001:db8::1]:5433/d'],
  ['postgres://u:p@127.0.0.1/d', 'disable', 'postgres://u@127.0.0.1:5432/d'],
  ['postgres://localhost/d?user=u&sslmode=require', 'require', 'postgres://u@localhost:5432/d'],
  ['postgres:///d?host=/run/postgresql', 'disable', 'postgres://%2Frun%2Fpostgresql:5432/d'],
  ['postgres://u:p@%2Frun%2Fpostgresql/d', 'disable', 'postgres://u@%2Frun%2Fpostgresql:5432/d'],
])('%s: sslmode %s, shown as %s', (url, ssl, shown) => {
  expect(place(url).ssl).toBe(ssl);
  expect(showStore(place(url))).toBe(shown);
});
