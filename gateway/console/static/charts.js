/* The charts of the last hour: samples of totals come from the API, rates are their differences.

   The history is fetched once; after it each event of /api/v1 adds a point. Colours are the style sheet's. */
"use strict";
(() => {
  const box = document.getElementById("charts");
  if (!box || typeof uPlot === "undefined") return;
  const HOUR_S = 3600;
  const GAP_S = 60; // between two samples: more is a hole, not a line
  const STEP_S = 9; // events come more often than the ring of samples: a point for each of these is enough
  const state = document.getElementById("chart-state");
  const samples = [];

  const sum = (value) => (typeof value === "object" && value ? Object.values(value).reduce((all, each) => all + each, 0) : value || 0);
  const total = (name) => (sample) => sum(sample[name]);
  const rate = (of, scale) => (sample, before) => {
    const seconds = (sample.at_ms - before.at_ms) / 1000;
    return seconds <= 0 || seconds > GAP_S ? null : Math.max(0, of(sample) - of(before)) / seconds / scale;
  };
  const number = (value) => (value == null ? "—" : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
  const whole = (value) => (value == null ? "—" : String(Math.round(value)));

  const charts = [
    {
      id: "chart-instances", unit: "/s", show: number,
      lines: [["received", "--series-1", rate(total("received"), 1)], ["delivered", "--series-2", rate(total("delivered"), 1)]],
    },
    {
      id: "chart-bytes", unit: " MB/s", show: number,
      lines: [["received", "--series-1", rate(total("received_bytes"), 1e6)], ["delivered", "--series-2", rate(total("delivered_bytes"), 1e6)]],
    },
    {
      id: "chart-waiting", unit: "", show: whole,
      lines: [["waiting", "--series-1", (sample) => total("waiting")(sample)], ["held or dead", "--series-2", (sample) => total("stopped")(sample)]],
    },
  ];

  // A canvas knows no custom properties, and light-dark() is resolved by the browser alone: ask it.
  const probe = document.createElement("span");
  probe.hidden = true;
  box.append(probe);
  const colour = (token) => {
    probe.style.color = `var(${token})`;
    return getComputedStyle(probe).color;
  };

  const values = (chart) => {
    const now = Date.now() / 1000;
    const times = samples.map((sample) => sample.at_ms / 1000);
    const lines = chart.lines.map(([, , of]) => samples.map((sample, at) => (at ? of(sample, samples[at - 1]) : null)));
    return times.length ? [times, ...lines] : [[now - HOUR_S, now], ...chart.lines.map(() => [null, null])];
  };

  const options = (chart, width) => ({
    width, height: 160,
    cursor: { y: false, points: { size: 6 } },
    legend: { live: true },
    scales: {
      x: { range: since },
      y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] },
    },
    axes: [
      { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, space: 70, values: "{HH}:{mm}" },
      { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, size: 52, values: (_, ticks) => ticks.map((tick) => short(tick)) },
    ],
    series: [
      { label: "at", value: (_, at) => (at == null ? "—" : clock(at)) },
      ...chart.lines.map(([label, token], at) => ({
        label, stroke: colour(token), width: 2, dash: at ? [6, 4] : undefined, points: { show: false },
        value: (_, value) => (value == null ? "—" : chart.show(value) + chart.unit),
      })),
    ],
  });
  // The last hour, or as much of it as the console has run: five minutes at least.
  const since = () => {
    const now = Date.now() / 1000;
    const first = samples.length ? samples[0].at_ms / 1000 : now;
    return [Math.max(now - HOUR_S, Math.min(first, now - 300)), now];
  };
  const short = (value) => (value >= 1e6 ? `${+(value / 1e6).toFixed(1)}M` : value >= 1e4 ? `${+(value / 1e3).toFixed(1)}k` : String(+value.toPrecision(2)));
  const clock = (at) => new Date(at * 1000).toTimeString().slice(0, 8);

  const drawn = new Map();
  const build = () => {
    for (const chart of charts) {
      const where = document.getElementById(chart.id);
      drawn.get(chart.id)?.destroy();
      drawn.set(chart.id, new uPlot(options(chart, where.clientWidth || 300), values(chart), where));
    }
  };
  const redraw = () => charts.forEach((chart) => drawn.get(chart.id).setData(values(chart)));
  const tell = () => {
    if (samples.length < 2) {
      state.textContent = "the first values come within half a minute";
      return;
    }
    const [before, last] = samples.slice(-2);
    const now = (chart, line) => charts[chart].show(charts[chart].lines[line][2](last, before)) + charts[chart].unit;
    state.textContent = `now ${now(0, 0)} in, ${now(0, 1)} out, ${now(2, 0)} waiting`;
  };

  const add = (sample) => {
    const last = samples.at(-1);
    if (!last || sample.at_ms - last.at_ms >= STEP_S * 1000) samples.push(sample);
    while (samples.length && samples[0].at_ms < Date.now() - HOUR_S * 1000) samples.shift();
    redraw();
    tell();
  };

  build();
  document.addEventListener("theme", build);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
  new ResizeObserver(() => {
    for (const chart of charts) {
      const width = document.getElementById(chart.id).clientWidth;
      if (width) drawn.get(chart.id).setSize({ width, height: 160 });
    }
  }).observe(box);

  // A stream holds one of the few connections that a browser has for a host: a tab that nobody sees gives it back.
  const AGAIN_MS = 10_000;
  let events = null;
  const stop = () => {
    events?.close();
    events = null;
  };
  const listen = () => {
    stop();
    events = new EventSource(box.dataset.events);
    events.addEventListener("live", (event) => add(JSON.parse(event.data)));
    events.addEventListener("error", () => { state.textContent = "no fresh values: the console does not answer"; });
    events.addEventListener("end", (event) => {
      stop();
      if (JSON.parse(event.data).because.includes("session")) location.reload();
      else setTimeout(start, AGAIN_MS);
    });
  };
  const start = () => {
    if (document.hidden) return;
    fetch(box.dataset.history, { headers: { accept: "application/json" } })
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(String(answer.status)))))
      .then((history) => {
        samples.splice(0, samples.length, ...history.samples);
        redraw();
        tell();
        listen();
      })
      .catch(() => {
        state.textContent = "no values: the console does not answer";
        setTimeout(start, AGAIN_MS);
      });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("pagehide", stop);
  start();
})();
