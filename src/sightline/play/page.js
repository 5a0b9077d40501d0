// A reader walks through the steps of an episode: frame, gaze, what was probable, what was expected.
// Reads what page.py packed. A link may name a step: #episode=2,step=5.
"use strict";
(() => {
  const played = JSON.parse(document.getElementById("played").textContent), episodes = played.episodes;
  const by = (id) => document.getElementById(id);
  const frame = by("frame"), gaze = by("gaze"), slider = by("step"), status = by("status"), bars = by("bars"), chart = by("chart");
  const MOST = 12, W = 360, H = 162, LEFT = 40, RIGHT = 8, TOP = 30, BOTTOM = 26;
  const state = { episode: 0, step: 0, timer: null };
  const short = (x) => (Math.abs(x) >= 1000 ? x.toFixed(0) : String(Number(x.toPrecision(3))));
  const made = (tag, name, text) => {
    const one = document.createElement(tag);
    if (name) one.className = name;
    if (text !== undefined) one.textContent = text;
    return one;
  };

  const buttons = episodes.map((one, i) => {
    const button = made("button", "", `Episode ${i + 1}: ${short(one.total)}`);
    button.type = "button";
    button.addEventListener("click", () => show(i, 0));
    by("choose").append(button);
    return button;
  });

  function barOf(bar) {
    const row = made("div", `bar${bar.chosen ? " chosen" : ""}${bar.at !== null ? " long" : ""}`);
    const track = made("div", "track"), fill = made("div", "fill");
    fill.style.left = `${100 * bar.start}%`;
    fill.style.width = `${100 * Math.max(0, bar.to - bar.start)}%`;
    track.append(fill);
    if (bar.at !== null) {
      const mark = made("div", "mark");
      mark.style.left = `${100 * bar.at}%`;
      track.append(mark);
    }
    row.append(made("span", "label", bar.label), track, made("span", "text", bar.text));
    return row;
  }

  // The axis of the chart: all values of the episode, and 0.
  function axes(one) {
    const values = one.steps.map((step) => step.value);
    const low = Math.min(0, ...values), high = Math.max(0, ...values), room = high - low || 1;
    const count = Math.max(1, one.steps.length - 1);
    return {
      low, high, count,
      x: (t) => LEFT + ((W - LEFT - RIGHT) * Math.min(t, count)) / count,
      y: (v) => TOP + (H - TOP - BOTTOM) * (1 - (v - low) / room),
    };
  }

  function draw(one, at) {
    const { low, high, count, x, y } = axes(one), line = one.steps.map((step, t) => `${x(t).toFixed(1)},${y(step.value).toFixed(1)}`);
    const gains = one.steps.map((step, t) => (step.reward === 0 || one.steps.length > 150 ? "" :
      `<line class="${step.reward > 0 ? "gain" : "loss"}" x1="${x(t)}" x2="${x(t)}" y1="${H - BOTTOM}" y2="${H - BOTTOM + 7}"/>`));
    const marks = [high, low].filter((v, i, all) => i === 0 || v !== all[0]);
    const last = one.steps[Math.min(at, one.steps.length - 1)];
    chart.innerHTML =
      `<text class="strong" x="0" y="11">Return that it expects from here on</text>` +
      marks.map((v) => `<line class="grid" x1="${LEFT}" x2="${W - RIGHT}" y1="${y(v)}" y2="${y(v)}"/><text class="quiet" x="${LEFT - 5}" y="${y(v) + 4}" text-anchor="end">${short(v)}</text>`).join("") +
      gains.join("") + `<polyline class="value" points="${line.join(" ")}"/>` +
      `<line class="now" x1="${x(at)}" x2="${x(at)}" y1="${TOP}" y2="${H - BOTTOM}"/><circle class="here" cx="${x(at)}" cy="${y(last.value)}" r="4"/>` +
      `<text class="quiet" x="${LEFT}" y="${H - 4}">step 0</text><text class="quiet" x="${W - RIGHT}" y="${H - 4}" text-anchor="end">${count}</text>` +
      (gains.some((one) => one) ? `<text class="quiet" x="${(LEFT + W - RIGHT) / 2}" y="${H - 4}" text-anchor="middle">ticks: rewards</text>` : "");
  }

  function show(episode, step) {
    const one = episodes[episode], count = one.steps.length, at = Math.max(0, Math.min(count, step));
    if (episode !== state.episode || !slider.max || Number(slider.max) !== count) slider.max = count;
    state.episode = episode;
    state.step = at;
    slider.value = at;
    slider.setAttribute("aria-valuetext", `step ${at} of ${count}`);
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === episode)));
    const pair = one.pictures[at === count ? one.pictures.length - 1 : Math.floor(at / played.every)];
    frame.src = pair[0];
    if (gaze) {
      if (pair[1]) gaze.src = pair[1];
      else gaze.removeAttribute("src");
    }
    const total = one.steps.slice(0, at).reduce((sum, now) => sum + now.reward, 0);
    status.replaceChildren();
    bars.replaceChildren();
    if (at === count) {
      status.append(made("strong", "", `Return ${short(one.total)}`), made("br"), `${one.ended} after ${count} steps`);
    } else {
      const now = one.steps[at];
      status.append(made("strong", "", now.action), made("br"),
        `step ${at} of ${count}, return so far ${short(total)}, expects ${short(now.value)}`);
      let shown = now.bars;
      if (shown.length > MOST && shown[0].at === null) {
        shown = [...shown].sort((a, b) => b.to - a.to).slice(0, MOST);
        if (!shown.some((bar) => bar.chosen)) shown[MOST - 1] = now.bars.find((bar) => bar.chosen) || shown[MOST - 1];
      }
      bars.append(...shown.slice(0, 2 * MOST).map(barOf));
      if (shown.length < now.bars.length) bars.append(made("p", "more", `and ${now.bars.length - shown.length} less probable`));
    }
    draw(one, at);
    document.body.dataset.step = `${episode + 1},${at}`;
  }

  function stop() {
    clearInterval(state.timer);
    state.timer = null;
    by("play").textContent = "Play";
  }
  by("play").addEventListener("click", () => {
    if (state.timer !== null) return stop();
    if (state.step === episodes[state.episode].steps.length) show(state.episode, 0);
    by("play").textContent = "Stop";
    state.timer = setInterval(() => {
      show(state.episode, state.step + 1);
      if (state.step === episodes[state.episode].steps.length) stop();
    }, 1000 / played.rate);
  });
  const move = (by) => { stop(); show(state.episode, state.step + by); };
  by("back").addEventListener("click", () => move(-1));
  by("next").addEventListener("click", () => move(1));
  slider.addEventListener("input", () => { stop(); show(state.episode, Number(slider.value)); });
  chart.addEventListener("click", (event) => {
    const box = chart.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * W;
    stop();
    show(state.episode, Math.round(((x - LEFT) / (W - LEFT - RIGHT)) * axes(episodes[state.episode]).count));
  });
  const named = /episode=(\d+),step=(\d+)/.exec(location.hash);
  if (named && episodes[named[1] - 1]) show(named[1] - 1, Number(named[2]));
  else show(0, 0);
})();
