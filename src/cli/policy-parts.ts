// What follows the policy files of a running proxy, put together: the policy in force, its bundle, certificates, and what the other nodes
// hear of it. In a worker it has the worker's part, and what is for all of them goes through the primary.
import type { Logger } from 'pino';
import type { ProcessLog } from '../audit/process-log.ts';
import type { Settings } from '../config/config.ts';
import type { CompiledPolicy } from '../policy/compile.ts';
import type { DurableRecorder, ProxyContext } from '../proxy/context.ts';
import { Fleet } from './fleet.ts';
import { followerOf } from './follow.ts';
import { GrantHolder } from './grant-holder.ts';
import { InspectionCa } from './inspection-ca.ts';
import { type InForce, PolicyHolder } from './policy-holder.ts';
import type { Parts } from './serve.ts';
import { TlsFiles } from './tls-files.ts';

/** Begins with what was loaded at the start. @throws SallyportError `tls-invalid`, `inspection-ca` */
export async function policyParts(parts: Parts & { readonly ctx: ProxyContext; readonly recorder: DurableRecorder }) {
  const { options, loaded, adapt, crewed, log, audit, ctx, recorder } = parts;
  const { settings } = loaded;
  const { file, overrides } = options;
  const fleet = new Fleet(settings, crewed !== null);
  const shared = { file, overrides, ctx, log };
  const reload = () => (crewed ? crewed.link.reloadAll() : holder.reload());
  // One of the workers fetches for all.
  const follows = crewed === null || crewed.order.worker === 1;
  const follower = follows ? await followerOf({ ...shared, settings, fleet, reload }) : null;
  const grants = new GrantHolder({ audit: recorder, log, meter: ctx.meter });
  const inForce = (what: InForce): void => {
    fleet.say(what);
    crewed?.link.inForce(what);
  };
  const tls = settings.identity.tls && openTls({ ctx, audit, log, settings: settings.identity.tls });
  const inspection = await openInspection({ ctx, audit, log, loaded });
  const useSettings = ({ identity, inspection: ca }: Settings, policy: CompiledPolicy): void => {
    ctx.proofs.use(identity);
    if (identity.tls) tls?.use(identity.tls);
    inspection.use(ca, policy);
  };
  const holder: PolicyHolder = new PolicyHolder({
    ...{ ...shared, audit: recorder, loaded, adapt, grants, inForce, useSettings },
    overrideBeside: crewed?.order.auditFile ?? settings.audit.file,
  });
  holder.install();
  return { fleet, follower, tls, inspection, holder };
}

/** @throws SallyportError `tls-invalid` */
function openTls(
  parts: Pick<ConstructorParameters<typeof TlsFiles>[0], 'ctx' | 'log' | 'settings'> & { audit: ProcessLog },
): TlsFiles {
  const { ctx, audit, log } = parts;
  const note = (result: string, detail: string): void => noteResult(audit, log, ctx.policy.digest, { result, detail });
  return new TlsFiles({ ...parts, note });
}

/** @throws SallyportError `inspection-ca` */
async function openInspection(
  parts: Pick<ConstructorParameters<typeof InspectionCa>[0], 'log'> &
    Pick<Parts, 'audit' | 'loaded'> & { readonly ctx: ProxyContext },
): Promise<InspectionCa> {
  const { ctx, audit, log, loaded } = parts;
  const note = (result: string, detail: string): void => noteResult(audit, log, ctx.policy.digest, { result, detail });
  const inspection = new InspectionCa({ ctx, log, note });
  await inspection.start(loaded.settings.inspection, loaded.policy);
  return inspection;
}

/** Another certificate of ours; what cannot be recorded is said. */
function noteResult(audit: ProcessLog, log: Logger, policy: string, detail: { result: string; detail: string }): void {
  try {
    audit.note({ event: 'policy', policy, detail });
  } catch (error) {
    log.error({ err: error }, 'another certificate could not be recorded');
  }
}
