// The policy in force, rule by rule with the line that each comes from, and a box that explains what a request would be answered.
import { useEffect, useState } from 'preact/hooks';
import type { z } from 'zod';
import type * as shapes from '../schemas.ts';
import { ApiError, getJson } from './api.ts';
import { Badge, Copy, Empty, Search } from './parts.tsx';
import { endpoint, inert } from './show.ts';
import { useJson } from './use.ts';
import { type Column, VirtualTable } from './virtual-table.tsx';

type Policy = z.output<typeof shapes.policyAnswer>;
type Rule = Policy['rules'][number] & { readonly place: number };
const PIECE = 2_000;
/** What one page can hold; a larger policy is for `sallyport policy`. */
const RULES_MAX = 20_000;

interface Loading {
  readonly rules: readonly Rule[];
  readonly total: number | null;
  readonly error: ApiError | null;
}

/** The rules in pieces, anew for each digest. */
function useRules(digest: string): Loading {
  const [state, setState] = useState<Loading>({ rules: [], total: null, error: null });
  useEffect(() => {
    const abort = new AbortController();
    const load = async (): Promise<void> => {
      const rules: Rule[] = [];
      for (let total = 1; rules.length < Math.min(total, RULES_MAX); ) {
        const piece = await getJson<Policy>(`/v1/policy?offset=${rules.length}&limit=${PIECE}`, abort.signal);
        total = piece.total;
        rules.push(...piece.rules.map((rule, at) => ({ ...rule, place: piece.offset + at })));
        setState({ rules: [...rules], total, error: null });
        if (piece.rules.length === 0) return;
      }
    };
    load().catch((error) => {
      if (!abort.signal.aborted && error instanceof ApiError) setState({ rules: [], total: null, error });
    });
    return () => abort.abort();
  }, [digest]);
  return state;
}

export function PolicyPage({ digest }: { readonly digest: string }) {
  const { rules, total, error } = useRules(digest);
  const [search, setSearch] = useState('');
  const shown = rules.filter(({ pattern, group, origin, rule }) =>
    `${pattern} ${group} ${origin} ${rule}`.includes(search),
  );
  const columns: Column<Rule>[] = [
    { head: 'Effect', width: '6rem', cell: ({ effect, expired }) => <Badge state={expired ? 'expired' : effect} /> },
    { head: 'Host', width: 'minmax(14rem, 2fr)', cell: ({ pattern }) => <span dir="ltr">{inert(pattern)}</span> },
    { head: 'Ports', width: '7rem', cell: ({ ports }) => (ports === null ? 'every' : ports.join(', ')) },
    { head: 'Protocol', width: '6rem', cell: ({ protocol }) => protocol },
    { head: 'Group', width: 'minmax(8rem, 1fr)', cell: ({ group }) => inert(group ?? '') },
    {
      head: 'For',
      width: 'minmax(8rem, 1fr)',
      cell: (rule) => (rule.for === null ? 'everyone' : inert(JSON.stringify(rule.for))),
    },
    { head: 'Comes from', width: 'minmax(10rem, 1.5fr)', cell: ({ origin }) => <code>{inert(origin)}</code> },
  ];
  return (
    <section aria-labelledby="policy-title">
      <header>
        <h2 id="policy-title">Policy</h2>
        <Search label="Host, group or file" value={search} onChange={setSearch} />
      </header>
      <Explain />
      {error !== null && (
        <p class="note error" role="alert">
          {error.message} {error.hint}
        </p>
      )}
      {total === null && error === null && (
        <p class="note" role="status">
          Loading the policy …
        </p>
      )}
      {total !== null && (
        <p class="muted">
          {shown.length} of {total} rules
        </p>
      )}
      {total !== null && shown.length === 0 && <Empty>No rule fits.</Empty>}
      {shown.length > 0 && (
        <VirtualTable label="Rules" rows={shown} columns={columns} rowKey={({ place }) => String(place)} />
      )}
    </section>
  );
}

type Explanation = z.output<typeof shapes.explainAnswer>;

function Explain() {
  const [target, setTarget] = useState('');
  const [as, setAs] = useState('');
  const [path, setPath] = useState<string | null>(null);
  const answer = useJson<Explanation>(path);
  return (
    <form
      class="explain"
      onSubmit={(event) => {
        event.preventDefault();
        setPath(`/v1/explain?target=${encodeURIComponent(target)}&as=${encodeURIComponent(as)}`);
        answer.reload();
      }}
    >
      <label>
        What would be answered to
        <input
          required
          value={target}
          placeholder="host.example:443"
          onInput={(e) => setTarget(e.currentTarget.value)}
        />
      </label>
      <label>
        asked by
        <input value={as} placeholder="pipeline=web,queue=default" onInput={(e) => setAs(e.currentTarget.value)} />
      </label>
      <button type="submit">Explain</button>
      <div role="status">
        {answer.error !== null && (
          <p class="bad">
            {answer.error.message} {answer.error.hint}
          </p>
        )}
        {path !== null && answer.error === null && answer.data !== null && <Explained {...answer.data} />}
      </div>
    </form>
  );
}

function Explained({ host, port, verdict, reason, rule, nearest, hint }: Explanation) {
  const fix = nearest?.fix ?? '';
  return (
    <>
      <p>
        <Badge state={verdict} /> <span dir="ltr">{endpoint(host, port)}</span> <code>{reason}</code>
        {rule !== null && ` by ${inert(rule.pattern)} at ${inert(rule.origin)}`}
      </p>
      {nearest !== null && <p>Nearest: {`${inert(nearest.pattern)}: ${inert(nearest.why)}`}</p>}
      {hint !== null && <p>{inert(hint)}</p>}
      {fix !== '' && <Copy text={`- ${fix}`} label="Copy rule" about={endpoint(host, port)} />}
    </>
  );
}
