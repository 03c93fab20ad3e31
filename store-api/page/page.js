// The little that a page of HTML can't do by itself: times in the browser's time zone, plots, and saying that the server
// is gone. Everything that is shown comes from the server.
(() => {
  'use strict';
  // The page's language, as the browser's country writes it.
  const spoken = document.documentElement.lang;
  const language = navigator.languages.find((one) => one.slice(0, 2) === spoken.slice(0, 2)) ?? spoken;
  const dateTime = new Intl.DateTimeFormat(language, { dateStyle: 'short', timeStyle: 'medium' });
  const clock = new Intl.DateTimeFormat(language, { timeStyle: 'medium' });
  const number = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });

  const localise = (root) => {
    for (const time of root.querySelectorAll('time[datetime]')) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.getTime())) time.textContent = dateTime.format(at);
    }
  };

  // Plots. What the server knows is in data-plot; one with data-grows gets a point each time, and keeps the older ones.
  const plots = new Map();
  const COLOURS = ['right', 'late', 'moving', 'warn', 'ink'];
  const MOST_POINTS = 600;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  const grown = (element, data) => {
    const kept = plots.get(element)?.kept ?? { times: [], points: new Map() };
    const at = data.times[0];
    if (kept.times.at(-1) !== at) {
      kept.times.push(at);
      for (const points of kept.points.values()) points.push(null);
    }
    for (const { name, values } of data.series) {
      if (!kept.points.has(name)) kept.points.set(name, kept.times.map(() => null));
      kept.points.get(name)[kept.times.length - 1] = values[0];
    }
    if (kept.times.length > MOST_POINTS) {
      kept.times.shift();
      for (const points of kept.points.values()) points.shift();
    }
    const series = [...kept.points].map(([name, values]) => ({ name, values }));
    return { kept, times: kept.times, series };
  };

  const options = (element, series) => {
    const axis = { stroke: colour('quiet'), grid: { stroke: colour('line'), width: 1 }, ticks: { show: false } };
    const time = { ...axis, values: (_, ticks) => ticks.map((tick) => clock.format(new Date(tick * 1000))), space: 90 };
    const value = { ...axis, values: (_, ticks) => ticks.map((tick) => number.format(tick)), size: 52 };
    const line = ({ name, colour: given }, at) => ({
      label: name, stroke: colour(given ?? COLOURS[at % COLOURS.length]), width: 2, spanGaps: true,
      points: { show: 'dbm' in element.dataset, size: 4 },
    });
    return {
      width: element.clientWidth, height: 180, axes: [time, value], cursor: { show: false },
      legend: { show: true, live: false }, series: [{}, ...series.map(line)],
      scales: {
        // A plot that has just begun does not spread seconds over all its width.
        x: { range: (_, min, max) => [min, Math.max(max, min + 60)] },
        y: { range: 'dbm' in element.dataset ? [-100, -20] : (_, __, max) => [0, Math.max(max, 1)] },
      },
    };
  };

  const plot = (element) => {
    const data = JSON.parse(element.dataset.plot);
    const { kept, times, series } = 'grows' in element.dataset ? grown(element, data) : data;
    const values = [times, ...series.map((one) => one.values)];
    const names = series.map((one) => one.name).join('\n');
    const old = plots.get(element);
    if (times.length < 2) {
      plots.set(element, { kept, names: null, drawn: { destroy() {} } });
      return;
    }
    if (old?.names === names) {
      old.kept = kept;
      old.drawn.setData(values);
      return;
    }
    old?.drawn.destroy();
    plots.set(element, { kept, names, drawn: new uPlot(options(element, series), values, element) });
  };

  const plotAll = () => {
    for (const [element, { drawn }] of plots) {
      if (!element.isConnected) {
        drawn.destroy();
        plots.delete(element);
      }
    }
    document.querySelectorAll('[data-plot]').forEach(plot);
  };

  const redraw = () => {
    for (const { drawn } of plots.values()) drawn.destroy();
    const kept = [...plots].map(([element, { kept }]) => [element, kept]);
    plots.clear();
    for (const [element, points] of kept) plots.set(element, { kept: points, names: null, drawn: { destroy() {} } });
    plotAll();
  };

  // A plot's canvas is not in what the server sends: only its data is taken over.
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (old, fresh) => {
    if (!(old instanceof HTMLElement) || !('plot' in old.dataset) || !('plot' in (fresh.dataset ?? {}))) return true;
    old.dataset.plot = fresh.dataset.plot;
    return false;
  };

  const settle = () => {
    localise(document);
    plotAll();
  };

  // Whether the server is there.
  let heard = new Date();
  const connected = (is) => {
    const banner = document.getElementById('disconnected');
    if (!is && banner.hidden) document.getElementById('as-of').textContent = clock.format(heard);
    banner.hidden = is;
    document.documentElement.dataset.connection = is ? 'up' : 'down';
  };

  document.addEventListener('DOMContentLoaded', settle);
  document.addEventListener('htmx:afterSettle', settle);
  document.addEventListener('htmx:sseMessage', () => {
    heard = new Date();
    connected(true);
    settle();
  });
  document.addEventListener('htmx:sseOpen', () => connected(true));
  document.addEventListener('htmx:sseError', () => connected(false));
  document.addEventListener('htmx:sendError', () => connected(false));
  // A browser that goes to another page closes its streams, which is no loss.
  window.addEventListener('pagehide', () => { document.getElementById('disconnected').hidden = true; });
  window.addEventListener('resize', () => {
    for (const [element, { drawn }] of plots) drawn.setSize?.({ width: element.clientWidth, height: 180 });
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
})();
