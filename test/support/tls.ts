// A throw-away certificate authority, made by the openssl command line once in each test process.
// Keys never leave the temp folder, and nothing here is used by the product.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tempDir, writeFile } from './temp.ts';

export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

interface Authority {
  readonly dir: string;
  readonly ca: string;
  readonly caFile: string;
}

const EXTENSIONS = {
  ca: 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n',
  leaf: 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n',
};

function openssl(dir: string, args: readonly string[]): void {
  execFileSync('openssl', args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-batch'];

let authority: Authority | null = null;

function testAuthority(): Authority {
  if (authority !== null) return authority;
  const dir = tempDir('tls');
  writeFile(join(dir, 'ca.cnf'), `[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\n${EXTENSIONS.ca}`);
  openssl(dir, [
    'req',
    '-x509',
    ...NEW_KEY,
    '-config',
    'ca.cnf',
    '-subj',
    '/CN=Sallyport test CA',
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
  ]);
  const caFile = join(dir, 'ca.pem');
  authority = { dir, caFile, ca: readFileSync(caFile, 'utf8') };
  return authority;
}

/** The test CA's certificate: as text for Node, as a file for command-line clients. */
export function testCa(): { readonly ca: string; readonly caFile: string } {
  return testAuthority();
}

let issued = 0;

/**
 * A leaf certificate for all the names given: DNS names, `*.name` too, IPv4 addresses, and URIs. Of a server unless a client is asked for.
 */
export function certificateFor(
  names: readonly string[],
  { usage = 'serverAuth', commonName = 'origin' }: { usage?: 'serverAuth' | 'clientAuth'; commonName?: string } = {},
): Certificate {
  const { dir } = testAuthority();
  const id = `leaf-${++issued}`;
  const typed = (name: string) =>
    /^[\d.]+$/.test(name) ? `IP:${name}` : name.includes('://') ? `URI:${name}` : `DNS:${name}`;
  const alternatives = names.map(typed).join(',');
  writeFile(
    join(dir, `${id}.cnf`),
    `[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\n${EXTENSIONS.leaf.replace('serverAuth', usage)}subjectAltName=${alternatives}\n`,
  );
  openssl(dir, [
    'req',
    '-x509',
    '-CA',
    'ca.pem',
    '-CAkey',
    'ca.key',
    ...NEW_KEY,
    '-config',
    `${id}.cnf`,
    '-subj',
    `/CN=${commonName}`,
    '-keyout',
    `${id}.key`,
    '-out',
    `${id}.pem`,
  ]);
  return { key: readFileSync(join(dir, `${id}.key`), 'utf8'), cert: readFileSync(join(dir, `${id}.pem`), 'utf8') };
}
