// An inspected host in this process: a CA, a rig whose rule is inspected, and clients that speak TLS inside its tunnels.

import type http from 'node:http';
import { join } from 'node:path';
import tls from 'node:tls';
import { type CaFiles, loadCa, newCa, newKey } from '../../src/inspect/ca.ts';
import type { Names } from '../../src/inspect/certificate.ts';
import { Leaves } from '../../src/inspect/leaves.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { type Certificate, certificateFor, testCa } from '../support/tls.ts';
import { atEnd, type Rig, type RigOptions, startRig } from './support.ts';

export const HOST = 'git.test';
const dir = tempDir('inspected');
let made = 0;

/** A CA for inspection on the disk. */
export function inspectionCa(names: Names = { domains: [HOST], addresses: [] }): CaFiles & { readonly pem: string } {
  const { key, pem: keyPem } = newKey(null);
  const pem = newCa(key, names, Date.now(), 30);
  const id = ++made;
  const cert = writeFile(join(dir, `${id}.pem`), pem);
  return { cert, pem, key: writeFile(join(dir, `${id}.key`), keyPem, 0o600), passphraseFile: null };
}

let certificate: Certificate | null = null;
/** Of the origin, by the test CA. */
export function hostCertificate(): Certificate {
  certificate ??= certificateFor([HOST, `*.${HOST}`, '127.0.0.1']);
  return certificate;
}

export interface Stage {
  readonly rig: Rig;
  readonly ca: ReturnType<typeof inspectionCa>;
  readonly port: number;
  readonly target: string;
  /** TLS inside a tunnel; rejects as tls.connect does. */
  secure(options?: tls.ConnectionOptions): Promise<tls.TLSSocket>;
  /** The same, byte for byte. */
  client(options?: tls.ConnectionOptions): Promise<RawClient>;
}

export interface StageOptions extends Partial<RigOptions> {
  /** The rule's own lines in YAML, behind `inspect: true`. */
  readonly rule?: string;
  readonly host?: string;
  readonly trusted?: string;
}

/** A proxy that inspects HOST on the port of an origin. */
export async function stageFor(origin: Pick<Origin, 'port'>, options: StageOptions = {}): Promise<Stage> {
  const { rule = 'allow: [{ path: "/**", methods: any }]', host = HOST, trusted = testCa().caFile, ...more } = options;
  const ca = inspectionCa();
  const { port } = origin;
  const rig = await startRig({
    policy: [
      `inspection: { ca: { cert: ${ca.cert}, key: ${ca.key} } }`,
      'allow:',
      `  - { host: ${host}, ports: [${port}], addresses: [127.0.0.0/8], inspect: true, upstream_ca: ${trusted}, ${rule} }`,
    ].join('\n'),
    names: { [HOST]: ['127.0.0.1'] },
    ...more,
  });
  rig.ctx.inspector.use(new Leaves(loadCa(ca, Date.now()), rig.ctx.limits, rig.meter));
  const target = `${host}:${port}`;
  const secure = async (given: tls.ConnectionOptions = {}): Promise<tls.TLSSocket> => {
    const { socket } = await rig.tunnel(target);
    socket.removeAllListeners();
    const secured = tls.connect({ socket, servername: HOST, ca: ca.pem, ...given });
    atEnd(() => void secured.destroy());
    await new Promise<void>((resolve, reject) => {
      secured.once('secureConnect', resolve);
      secured.once('error', reject);
    });
    return secured;
  };
  return { rig, ca, port, target, secure, client: async (given) => RawClient.of(await secure(given)) };
}

/** An origin over TLS that ends with the test. */
export async function httpsOrigin(handler: http.RequestListener): Promise<Origin> {
  const origin = await startHttpOrigin(handler, { tls: hostCertificate() });
  atEnd(() => origin.close());
  return origin;
}

/** A request in origin-form. */
export const request = (target: string, path = '/', more = '', method = 'GET'): string =>
  `${method} ${path} HTTP/1.1\r\nHost: ${target}\r\n${more}\r\n`;
