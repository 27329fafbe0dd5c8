// The style sheet of the HTML report. It stands in the page, which names its hash: change it freely, the hash follows.

export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --page: #f7f6f3; --card: #fff; --ink: #1b1b1a; --quiet: #66655f; --line: #e3e1da; --stripe: #faf9f7;
  --use: #2a78d6; --deny: #cf3a3a; --warn: #c98500; --up: #1a9c6e; --bad-ink: #a82424; --warn-ink: #855a00; --focus: #2a78d6;
  --alarm: #b3261e; --alarm-ink: #fff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141413; --card: #1d1d1b; --ink: #f1efe9; --quiet: #a5a49c; --line: #33332f; --stripe: #222220;
    --use: #5a9cec; --deny: #ea6b6b; --warn: #e0a33c; --up: #43c093; --bad-ink: #f19a9a; --warn-ink: #ecc071; --focus: #8abaf5;
    --alarm: #8c1d18; --alarm-ink: #fff;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main, header, footer { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 17px; margin: 0; }
p { margin: 0; max-width: 80ch; }
.quiet, .about, .rest { color: var(--quiet); }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 24px; top: 8px; background: var(--card); padding: 6px 12px; border-radius: 6px; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; border-radius: 4px; }
.alarms ul { list-style: none; margin: 0; padding: 0; }
.alarms { margin: 20px 0 0; padding: 16px 20px; background: var(--alarm); color: var(--alarm-ink); border-radius: 10px; font-weight: 650; overflow-wrap: anywhere; }
.alarms li + li { margin-top: 8px; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 6px; padding: 0; margin: 20px 0 0; }
nav a { display: block; padding: 3px 12px; border: 1px solid var(--line); border-radius: 999px; background: var(--card); color: var(--ink); text-decoration: none; font-size: 13px; }
nav a:hover { border-color: var(--quiet); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(124px, 1fr)); gap: 12px; margin: 24px 0 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile dt { color: var(--quiet); font-size: 13px; }
.tile dd { margin: 0; font-size: 24px; font-weight: 620; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile.bad dd { color: var(--bad-ink); }
.tile.warn dd { color: var(--warn-ink); }
.facts { margin: 14px 0 0; padding-left: 18px; color: var(--quiet); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr)); gap: 12px; margin-top: 12px; }
figure, section { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 20px; min-width: 0; }
figcaption { font-weight: 620; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; color: var(--quiet); font-size: 13px; margin-top: 2px; }
.legend span { display: inline-flex; align-items: center; gap: 6px; }
.key { width: 10px; height: 10px; }
.plot { display: block; width: 100%; min-width: 520px; height: auto; margin-top: 10px; }
.use, .down { fill: var(--use); } .deny { fill: var(--deny); } .warn { fill: var(--warn); } .up { fill: var(--up); }
.hit { fill: transparent; } g:hover > .hit { fill: var(--line); opacity: 0.6; }
.grid { stroke: var(--line); stroke-width: 1; }
.tick, .name, .value { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--quiet); }
.name, .value { font-size: 12px; fill: var(--ink); }
section { margin-top: 12px; scroll-margin-top: 12px; }
.about { margin-top: 2px; }
.count { color: var(--quiet); font-weight: 400; }
.wide { overflow: auto; }
.rows { max-height: 34rem; margin-top: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { text-align: left; vertical-align: top; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; min-width: 9ch; }
thead th { position: sticky; top: 0; background: var(--card); color: var(--quiet); font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 500; min-width: 18ch; }
tbody tr:hover { background: var(--stripe); }
.n { min-width: 5ch; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.t { white-space: nowrap; color: var(--quiet); font-variant-numeric: tabular-nums; }
tr.bad > * { color: var(--bad-ink); } tr.warn > * { color: var(--warn-ink); } tr.quiet > * { color: var(--quiet); }
.notes { margin: 12px 0 0; padding-left: 18px; color: var(--quiet); }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--quiet); }
footer { padding-top: 24px; padding-bottom: 48px; color: var(--quiet); font-size: 13px; }
@media (max-width: 600px) { main, header, footer { padding-left: 14px; padding-right: 14px; } figure, section { padding: 14px; } }
@media print { body { background: #fff; } nav, .skip { display: none; } .rows, .wide { max-height: none; overflow: visible; } section, figure { break-inside: avoid-page; } }
`;
