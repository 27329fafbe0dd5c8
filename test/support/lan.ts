// A network of the test's own: a bridge in a network namespace, and machines that are namespaces with one address on it. Nothing leaves it,
// and it goes with its holders, which end when this process does. Needs root; `canMakeLan` says whether there is enough.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

/** All machines, and the clients that the lan's own namespace plays. */
export const LAN = '10.77.0.0/16';
/** Of the namespace that holds the bridge: the balancer, and the origin. */
export const BALANCER = '10.77.0.1';
export const ORIGIN = '10.77.0.2';
const CLIENTS = 16;
/** As many clients as asked for have an address each. */
export const clientAddress = (n: number): string => `10.77.1.${1 + (n % CLIENTS)}`;

const ADDRESSES = [BALANCER, ORIGIN, ...Array.from({ length: CLIENTS }, (_, n) => clientAddress(n))];
const UP = [
  'ip link set lo up',
  'ip link add bridge0 type bridge',
  ...ADDRESSES.map((address) => `ip addr add ${address}/16 dev bridge0`),
  'ip link set bridge0 up',
].join(' && ');

export function canMakeLan(): boolean {
  return process.getuid?.() === 0 && spawnSync('unshare', ['--net', 'sh', '-c', UP]).status === 0;
}

/** A namespace and what is put before a command to run it inside. */
class Namespace {
  readonly inside: readonly string[];
  readonly pid: number;
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
    this.pid = holder.pid as number;
    this.inside = ['nsenter', '--target', String(this.pid), '--net', '--'];
  }

  static async make(up: string): Promise<Namespace> {
    // cat ends when this process does, however that ends.
    const holder = spawn('unshare', ['--net', 'sh', '-c', `${up} && echo up && exec cat`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await Promise.race([
      once(holder.stdout, 'data'),
      once(holder, 'exit').then(() => Promise.reject(new Error(`no namespace: ${up}`))),
    ]);
    return new Namespace(holder);
  }

  run(script: string): void {
    execFileSync('nsenter', ['--target', String(this.pid), '--net', '--', 'sh', '-c', script]);
  }

  async close(): Promise<void> {
    const exited = once(this.#holder, 'exit');
    if (this.#holder.kill('SIGKILL')) await exited;
  }
}

export interface Machine {
  readonly address: string;
  /** Put before a command, it runs there. */
  readonly inside: readonly string[];
  /** Pulls the cable out, and puts it in again. */
  cable(state: 'in' | 'out'): void;
}

export class Lan {
  readonly inside: readonly string[];
  readonly #switch: Namespace;
  readonly #machines: Namespace[] = [];

  private constructor(namespace: Namespace) {
    this.#switch = namespace;
    this.inside = namespace.inside;
  }

  static async start(): Promise<Lan> {
    return new Lan(await Namespace.make(UP));
  }

  async machine(address: string): Promise<Machine> {
    const namespace = await Namespace.make('ip link set lo up');
    const port = `port${this.#machines.push(namespace)}`;
    this.#switch.run(
      `ip link add ${port} type veth peer name eth0 netns ${namespace.pid} && ip link set ${port} master bridge0 up`,
    );
    namespace.run(`ip addr add ${address}/16 dev eth0 && ip link set eth0 up`);
    const cable = (state: 'in' | 'out'): void =>
      this.#switch.run(`ip link set ${port} ${state === 'in' ? 'up' : 'down'}`);
    return { address, inside: namespace.inside, cable };
  }

  async close(): Promise<void> {
    for (const namespace of [...this.#machines, this.#switch]) await namespace.close();
  }
}
