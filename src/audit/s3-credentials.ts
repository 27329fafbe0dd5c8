// Who we are to an object store: a file of credentials that the policy names, or what the environment says: keys, the token of a
// workload (AssumeRoleWithWebIdentity: EKS service accounts), or a container's agent (ECS, EKS pod identities). The instance metadata
// service is never asked: it is what this proxy keeps everybody from. No secret leaves this file but to the signer.
import fs from 'node:fs';
import { type BucketPlace, storeEndpoint } from '../config/second-place.ts';
import { SallyportError } from '../errors.ts';
import { codeOf, xmlText } from './s3-xml.ts';
import { type Road, sendToStore } from './store-http.ts';

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | null;
  /** Milliseconds since 1970; null: nobody says. */
  readonly expires: number | null;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface CredentialOptions {
  readonly place: Pick<BucketPlace, 'region' | 'credentials'>;
  readonly env: Environment;
  readonly road: Road;
  readonly now: () => number;
}

/** Before they end, so that no upload ends with them. */
const EARLY_MS = 300_000;
/** Where a container's agent is, besides this machine: ECS, and EKS in both families. */
const AGENTS: ReadonlySet<string> = new Set(['169.254.170.2', '169.254.170.23', '[fd00:ec2::23]']);

export class CredentialSource {
  readonly #options: CredentialOptions;
  #known: Credentials | null = null;

  constructor(options: CredentialOptions) {
    this.#options = options;
  }

  /** @throws SallyportError `ship-credentials` */
  async get(): Promise<Credentials> {
    const { place, env, now } = this.#options;
    if (place.credentials !== null) return fromFile(place.credentials);
    if (env['AWS_ACCESS_KEY_ID'] !== undefined) return fromVariables(env);
    const known = this.#known;
    if (known !== null && (known.expires === null || known.expires - EARLY_MS > now())) return known;
    this.#known = await this.#fetched();
    return this.#known;
  }

  /** The store refused them: whoever gives them is asked anew. */
  forget(): void {
    this.#known = null;
  }

  async #fetched(): Promise<Credentials> {
    const { env } = this.#options;
    if (env['AWS_WEB_IDENTITY_TOKEN_FILE'] !== undefined) return this.#assumed(env['AWS_WEB_IDENTITY_TOKEN_FILE']);
    const relative = env['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'];
    const full = env['AWS_CONTAINER_CREDENTIALS_FULL_URI'];
    if (relative !== undefined) return this.#ofContainer(`http://169.254.170.2${relative}`);
    if (full !== undefined) return this.#ofContainer(full);
    throw refused('there are no credentials: no file is named, and the environment has none');
  }

  async #assumed(tokenFile: string): Promise<Credentials> {
    const { env, place, road } = this.#options;
    const role = env['AWS_ROLE_ARN'];
    if (role === undefined) throw refused('AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not');
    const endpoint = storeEndpoint(env['AWS_ENDPOINT_URL_STS'] ?? `https://sts.${awsDomain(place.region)}`);
    if (endpoint === null) throw refused('AWS_ENDPOINT_URL_STS is no https:// URL');
    const body = new URLSearchParams({
      Action: 'AssumeRoleWithWebIdentity',
      Version: '2011-06-15',
      RoleArn: role,
      RoleSessionName: env['AWS_ROLE_SESSION_NAME'] ?? 'sallyport',
      WebIdentityToken: readText(tokenFile).trim(),
    }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const { status, text } = await asked(
      sendToStore({ method: 'POST', url: new URL(endpoint), headers, body }, road),
      endpoint,
    );
    if (status !== 200) throw refused(`${endpoint} gives none for ${role}: ${status} ${codeOf(text)}`.trimEnd());
    return whole(endpoint, (name) => xmlText(text, name), 'SessionToken');
  }

  async #ofContainer(address: string): Promise<Credentials> {
    const url = URL.parse(address);
    if (url === null || !(AGENTS.has(url.hostname) || storeEndpoint(url.origin) !== null))
      throw refused('AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https:// nor an agent of this machine');
    const { env, road } = this.#options;
    const file = env['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'];
    const token = file === undefined ? env['AWS_CONTAINER_AUTHORIZATION_TOKEN'] : readText(file).trim();
    if (token !== undefined && /[^\x21-\x7e ]/.test(token))
      throw refused("the token for the container's agent is no header");
    const headers: Record<string, string> = token === undefined ? {} : { authorization: token };
    const { status, text } = await asked(sendToStore({ method: 'GET', url, headers }, road), url.origin);
    if (status !== 200) throw refused(`${url.origin} gives none: ${status}`);
    const given = parsed(text);
    const member = (name: string): string | null => (typeof given[name] === 'string' ? given[name] : null);
    return whole(url.origin, member, 'Token');
  }
}

/** What the hosts of a region end with. */
export function awsDomain(region: string): string {
  return `${region}.${region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com'}`;
}

function fromVariables(env: Environment): Credentials {
  const secretAccessKey = env['AWS_SECRET_ACCESS_KEY'];
  if (!env['AWS_ACCESS_KEY_ID'] || !secretAccessKey)
    throw refused('AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must both be set');
  const sessionToken = env['AWS_SESSION_TOKEN'] || null;
  return { accessKeyId: env['AWS_ACCESS_KEY_ID'], secretAccessKey, sessionToken, expires: null };
}

/** The file of the AWS tools: `[profile]`, then `name = value`. */
function fromFile({ file, profile }: { readonly file: string; readonly profile: string }): Credentials {
  const values = new Map<string, string>();
  let section = '';
  for (const line of readText(file).split(/\r?\n/)) {
    const head = /^\s*\[\s*(.*?)\s*\]\s*$/.exec(line);
    const entry = /^\s*([A-Za-z_]+)\s*=\s*(\S.*?)\s*$/.exec(line);
    if (head !== null) section = head[1] ?? '';
    else if (entry !== null && section === profile) values.set(entry[1] ?? '', entry[2] ?? '');
  }
  const accessKeyId = values.get('aws_access_key_id');
  const secretAccessKey = values.get('aws_secret_access_key');
  if (accessKeyId === undefined || secretAccessKey === undefined)
    throw refused(`${file} has no aws_access_key_id and aws_secret_access_key under [${profile}]`);
  return { accessKeyId, secretAccessKey, sessionToken: values.get('aws_session_token') ?? null, expires: null };
}

function whole(from: string, member: (name: string) => string | null, token: string): Credentials {
  const accessKeyId = member('AccessKeyId');
  const secretAccessKey = member('SecretAccessKey');
  const sessionToken = member(token);
  const expires = Date.parse(member('Expiration') ?? '');
  if (!accessKeyId || !secretAccessKey || !sessionToken || Number.isNaN(expires))
    throw refused(`what ${from} gives are no credentials`);
  return { accessKeyId, secretAccessKey, sessionToken, expires };
}

async function asked<T>(sent: Promise<T>, whom: string): Promise<T> {
  return sent.catch((cause: Error) => {
    throw refused(`${whom} cannot be asked for them: ${cause.message}`, cause);
  });
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (cause) {
    throw refused(`${file} cannot be read: ${(cause as NodeJS.ErrnoException).code}`, cause as Error);
  }
}

function refused(why: string, cause?: Error): SallyportError {
  return new SallyportError('ship-credentials', why, cause === undefined ? {} : { cause });
}
