// Plots by uPlot: the time line of a window, and the small line of a group. What they show stands in the text beside them too.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

const HOUR_S = 3_600;

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export interface Point {
  readonly at: string;
  readonly tunnels: number;
  readonly denied: number;
  readonly would_deny: number;
}

export function Timeline({ points }: { readonly points: readonly Point[] }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const target = box.current;
    if (target === null || points.length === 0) return;
    const text = colour('--muted');
    const axis = { stroke: text, grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
    const line = (label: string, name: string) => ({
      label,
      stroke: colour(name),
      width: 2,
      points: { show: points.length < 3 },
    });
    const times = points.map(({ at }) => Date.parse(at) / 1_000);
    const [first, last] = [times[0] ?? 0, times.at(-1) ?? 0];
    const plot = new uPlot(
      {
        width: target.clientWidth,
        height: 180,
        series: [{}, line('let through', '--good'), line('refused', '--bad'), line('would be refused', '--warn')],
        axes: [axis, { ...axis, size: 60 }],
        scales: {
          // One point has no width of its own.
          x: { range: () => (first === last ? [first - HOUR_S, last + HOUR_S] : [first, last]) },
          y: { range: (_, __, max) => [0, Math.max(1, max)] },
        },
      },
      [
        times,
        points.map(({ tunnels }) => tunnels),
        points.map(({ denied }) => denied),
        points.map(({ would_deny }) => would_deny),
      ],
      target,
    );
    const resized = new ResizeObserver(() => plot.setSize({ width: target.clientWidth, height: 180 }));
    resized.observe(target);
    return () => {
      resized.disconnect();
      plot.destroy();
    };
  }, [points]);
  const sum = (key: 'tunnels' | 'denied') => points.reduce((all, point) => all + point[key], 0);
  return (
    <figure class="chart">
      <div ref={box} aria-hidden="true" />
      <figcaption>
        {sum('tunnels')} let through and {sum('denied')} refused
      </figcaption>
    </figure>
  );
}

/** Tunnels over the window, without axes. */
export function Spark({ values, label }: { readonly values: readonly number[]; readonly label: string }) {
  const [width, height] = [120, 24];
  const most = Math.max(1, ...values);
  const step = values.length > 1 ? width / (values.length - 1) : width;
  const line = values.map(
    (value, at) => `${(at * step).toFixed(1)},${(height - 1 - (value / most) * (height - 2)).toFixed(1)}`,
  );
  return (
    <svg class="spark" viewBox={`0 0 ${width} ${height}`} width={width} height={height} role="img" aria-label={label}>
      {values.length > 0 && <polyline points={values.length === 1 ? `0,${height - 1} ${width},1` : line.join(' ')} />}
    </svg>
  );
}
