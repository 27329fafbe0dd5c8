// The frame: who may look (the token), which page, which window of time, and whether the proxy still answers.
import { useEffect, useState } from 'preact/hooks';
import type { Dimension } from '../../report/dimension.ts';
import { UNAUTHORIZED } from './api.ts';
import { LivePage, useLive } from './live.tsx';
import { HealthPage, type Status, SuggestPage, TunnelsPage } from './pages.tsx';
import { PolicyPage } from './policy.tsx';
import { inert } from './show.ts';
import { setToken, token } from './token.ts';
import { type ReportAnswer, UsagePage } from './usage.tsx';
import { useJson } from './use.ts';
import { ALL, type Scope, WhoPage } from './who.tsx';

const PAGES = ['live', 'usage', 'who', 'tunnels', 'policy', 'suggest', 'health'] as const;
type PageName = (typeof PAGES)[number];
const TITLES: Readonly<Record<PageName, string>> = {
  live: 'Live',
  usage: 'Usage',
  who: 'Who',
  tunnels: 'Tunnels',
  policy: 'Policy',
  suggest: 'Suggest',
  health: 'Health',
};
const RANGES = { '1h': 'last hour', '24h': 'last day', '7d': 'last week', '30d': 'last month' } as const;
const REPORT_MS = 30_000;
const STATUS_MS = 5_000;

export function App() {
  const [known, setKnown] = useState(token() !== null);
  useEffect(() => {
    const gone = (): void => setKnown(false);
    addEventListener(UNAUTHORIZED, gone);
    return () => removeEventListener(UNAUTHORIZED, gone);
  }, []);
  return known ? <Dashboard /> : <Door onToken={() => setKnown(true)} />;
}

function Door({ onToken }: { readonly onToken: () => void }) {
  const [text, setText] = useState('');
  return (
    <main class="door">
      <h1>Sallyport</h1>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setToken(text.trim());
          onToken();
        }}
      >
        <label>
          Token of the admin listener
          <input
            type="password"
            required
            autocomplete="off"
            value={text}
            onInput={(e) => setText(e.currentTarget.value)}
          />
        </label>
        <button type="submit">Open</button>
        <p class="muted">
          It is the text of the file that <code>admin.token_file</code> names, by default the audit log's name with{' '}
          <code>.admin-token</code>. It stays in this tab.
        </p>
      </form>
    </main>
  );
}

/** The page that the address names. */
function usePage(): PageName {
  const read = (): PageName => PAGES.find((name) => `#${name}` === location.hash) ?? 'live';
  const [page, setPage] = useState(read);
  useEffect(() => {
    const changed = (): void => setPage(read());
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return page;
}

function Dashboard() {
  const page = usePage();
  const [range, setRange] = useState<keyof typeof RANGES>('7d');
  const [scope, setScope] = useState<Scope>(ALL);
  const [by, setBy] = useState<Dimension>('pipeline');
  const live = useLive();
  const status = useJson<Status>('/v1/status', STATUS_MS);
  const path = reportPath(page, range, scope, by);
  const report = useJson<ReportAnswer>(path, path === null ? 0 : REPORT_MS);
  useEffect(() => {
    document.title = `${TITLES[page]} – Sallyport`;
  }, [page]);
  return (
    <>
      <button type="button" class="unseen" onClick={() => document.getElementById('content')?.focus()}>
        Skip to the page
      </button>
      <header class="top">
        <h1>Sallyport</h1>
        <nav aria-label="Pages">
          {PAGES.map((name) => (
            <a key={name} href={`#${name}`} aria-current={page === name ? 'page' : undefined}>
              {TITLES[name]}
            </a>
          ))}
        </nav>
        <label>
          <span class="unseen">Window of time</span>
          <select value={range} onChange={(event) => setRange(event.currentTarget.value as keyof typeof RANGES)}>
            {Object.entries(RANGES).map(([value, title]) => (
              <option key={value} value={value}>
                {title}
              </option>
            ))}
          </select>
        </label>
        <p role="status" class={live.connection.connected ? 'good' : 'bad'}>
          {live.connection.connected ? 'connected' : live.connection.error === null ? 'connecting …' : 'reconnecting …'}
        </p>
      </header>
      {status.data !== null && <Banner {...status.data} />}
      <main id="content" tabIndex={-1}>
        {page === 'live' && <LivePage live={live} />}
        {page === 'usage' && (
          <>
            <Narrowed scope={scope} onAll={() => setScope(ALL)} />
            <UsagePage report={report} />
          </>
        )}
        {page === 'who' && (
          <WhoPage
            report={report}
            by={by}
            onBy={setBy}
            onScope={(chosen) => {
              setScope(chosen);
              location.hash = '#usage';
            }}
          />
        )}
        {page === 'tunnels' && <TunnelsPage />}
        {page === 'policy' && <PolicyPage digest={status.data?.policy.digest ?? ''} />}
        {page === 'suggest' && <SuggestPage range={range} />}
        {page === 'health' && <HealthPage status={status} />}
      </main>
    </>
  );
}

/** null where the page shows no report. */
function reportPath(page: PageName, range: string, { pipeline, job }: Scope, by: Dimension): string | null {
  if (page === 'who') return `/v1/report?from=${range}&by=${by}`;
  if (page !== 'usage') return null;
  const query = new URLSearchParams({ from: range });
  if (pipeline !== '') query.set('pipeline', pipeline);
  if (job !== '') query.set('job', job);
  return `/v1/report?${query}`;
}

function Narrowed({ scope: { pipeline, job }, onAll }: { readonly scope: Scope; readonly onAll: () => void }) {
  if (pipeline === '' && job === '') return null;
  return (
    <p class="note">
      Only {inert([pipeline, job].filter((part) => part !== '').join(' / '))}.{' '}
      <button type="button" class="small" onClick={onAll}>
        Show all
      </button>
    </p>
  );
}

/** What an operator must not overlook, on every page. */
function Banner({ not_ready, mode, policy }: Status) {
  const said = [
    not_ready === null ? null : `Not ready: ${not_ready}.`,
    mode === 'observe' ? 'Observe mode: what no rule allows passes, and is recorded as would-deny.' : null,
    policy.reloads.refused > 0 ? `${policy.reloads.refused} reloads were refused since the start: see the log.` : null,
  ].filter((text) => text !== null);
  if (said.length === 0) return null;
  return (
    <div class="banner" role="status">
      {said.map((text) => (
        <p key={text}>{inert(text)}</p>
      ))}
    </div>
  );
}
