// A reader points at a pixel; the nearest neuron shows what it can see (a set), does see (heat) and where it looks.
// Reads what page.py packed; draws on canvases. A link may name a neuron of the lattice: #neuron=row,column.
"use strict";
(async () => {
  const all = document.getElementById("all-layers"), table = document.getElementById("layers");
  if (all) all.addEventListener("change", () => table.classList.toggle("all", all.checked));
  const packed = document.getElementById("seen"), picker = document.getElementById("picker");
  if (!packed || !picker) return;
  const status = document.getElementById("neuron-status");
  const seen = JSON.parse(packed.textContent), { h, w } = seen.image;
  if (typeof DecompressionStream === "undefined") {
    status.textContent = "This browser cannot unpack the page's pictures (it has no DecompressionStream): a newer one can.";
    return;
  }
  const inflate = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const maps = [seen.neurons, ...seen.steps];
  await Promise.all([
    ...maps.map(async (one) => { one.bits = await inflate(one.sets); one.cache = new Map(); }),
    ...maps.filter((one) => one.heats).map(async (one) => { one.heats.bytes = await inflate(one.heats.data); }),
    ...seen.looks.map(async (one) => { one.bytes = await inflate(one.data); }),
  ]);
  const photo = new Image();
  photo.src = seen.image.uri;
  await photo.decode();

  // The view: the image and as much of the padding as fields need, at most 18 % of the image on every side.
  const boxes = seen.neurons.boxes, over = Math.max(0, ...boxes.flatMap(([t, l, b, r]) => [-t, -l, b - h, r - w]));
  const margin = Math.ceil(Math.min(0.18 * Math.max(h, w), Math.max(over, 0.04 * Math.max(h, w))));
  const view = { h: h + 2 * margin, w: w + 2 * margin };
  const flags = { theory: true, effect: true, colour: false };
  const nearest = (centres, value) => centres.reduce((best, c, i) => (Math.abs(c - value) < Math.abs(centres[best] - value) ? i : best), 0);
  const state = { row: seen.start[0], column: seen.start[1], layer: seen.looks.length - 1, head: 0 };
  state.held = [state.row, state.column];

  const layerCanvas = (height, width, fill) => {
    const made = document.createElement("canvas");
    made.height = height;
    made.width = width;
    const pen = made.getContext("2d"), picture = pen.createImageData(width, height);
    fill(picture.data);
    pen.putImageData(picture, 0, 0);
    return made;
  };

  // What a neuron can see: a veil on all other pixels, and a line around the set, holes included.
  function fieldOf(map, index) {
    const known = map.cache.get(index);
    if (known) return known;
    const row = Math.ceil((h * w) / 8) * index, bits = map.bits;
    const has = (y, x) => {
      if (y < 0 || x < 0 || y >= h || x >= w) return 0;
      const at = y * w + x;
      return (bits[row + (at >> 3)] >> (7 - (at & 7))) & 1;
    };
    const path = new Path2D();
    let count = 0, around = 0;
    for (let y = 0; y <= h; y++) for (let x = 0, from = -1; x <= w; x++) {
      const edge = x < w && has(y - 1, x) !== has(y, x);
      if (edge && from < 0) from = x;
      if (!edge && from >= 0) { path.moveTo(from, y); path.lineTo(x, y); around += x - from; from = -1; }
    }
    for (let x = 0; x <= w; x++) for (let y = 0, from = -1; y <= h; y++) {
      const edge = y < h && has(y, x - 1) !== has(y, x);
      if (edge && from < 0) from = y;
      if (!edge && from >= 0) { path.moveTo(x, from); path.lineTo(x, y); around += y - from; from = -1; }
    }
    const veil = layerCanvas(h, w, (data) => {
      for (let y = 0, at = 3; y < h; y++) for (let x = 0; x < w; x++, at += 4) {
        if (has(y, x)) count += 1;
        else data[at] = 178;
      }
    });
    const found = { path, veil, count, holes: around > 1.2 * count && count > 64 };
    if (map.cache.size > 400) map.cache.clear();
    map.cache.set(index, found);
    return found;
  }

  // Heat: one hue whose opacity is the square root of the amount, as it was packed.
  const heatOf = (bytes, from, [rows, columns], [red, green, blue], most = 0.88) => layerCanvas(rows, columns, (data) => {
    for (let i = 0; i < rows * columns; i++) data.set([red, green, blue, most * bytes[from + i]], 4 * i);
  });

  // Marching squares around the cells at or above a level, between the cells' centres, in pixels of the image. Pieces are
  // joined at the sides of cells they share, so that dashes run on.
  function contour(bytes, from, [rows, columns], level) {
    const at = (y, x) => (y < 0 || x < 0 || y >= rows || x >= columns ? 0 : bytes[from + y * columns + x]);
    const cut = (a, b) => (level - a) / (b - a), ends = new Map(), places = new Map();
    const join = (side, other) => { if (ends.has(side)) ends.get(side).push(other); else ends.set(side, [other]); };
    for (let y = -1; y < rows; y++) for (let x = -1; x < columns; x++) {
      const a = at(y, x), b = at(y, x + 1), c = at(y + 1, x + 1), d = at(y + 1, x), sides = [];
      const side = (name, py, px) => { places.set(name, [py, px]); sides.push(name); };
      if ((a >= level) !== (b >= level)) side(`h${y},${x}`, y, x + cut(a, b));
      if ((b >= level) !== (c >= level)) side(`v${y},${x + 1}`, y + cut(b, c), x + 1);
      if ((d >= level) !== (c >= level)) side(`h${y + 1},${x}`, y + 1, x + cut(d, c));
      if ((a >= level) !== (d >= level)) side(`v${y},${x}`, y + cut(a, d), x);
      for (let i = 0; i + 1 < sides.length; i += 2) { join(sides[i], sides[i + 1]); join(sides[i + 1], sides[i]); }
    }
    const path = new Path2D(), left = new Set(ends.keys());
    const point = (name) => {
      const [y, x] = places.get(name), inside = (value, most) => Math.min(most, Math.max(0, value));
      return [inside(((x + 0.5) * w) / columns, w), inside(((y + 0.5) * h) / rows, h)];
    };
    for (const first of ends.keys()) {
      if (!left.has(first)) continue;
      path.moveTo(...point(first));
      for (let name = first; name !== undefined;) {
        left.delete(name);
        path.lineTo(...point(name));
        name = ends.get(name).find((other) => left.has(other));
      }
      path.closePath();
    }
    return path;
  }

  function start(canvas) {
    const width = canvas.getBoundingClientRect().width || 300, sharp = Math.min(2, window.devicePixelRatio || 1);
    const across = Math.max(1, Math.round(width * sharp)), down = Math.max(1, Math.round((across * view.h) / view.w));
    if (canvas.width !== across || canvas.height !== down) { canvas.width = across; canvas.height = down; }
    const pen = canvas.getContext("2d"), scale = across / view.w, style = getComputedStyle(document.documentElement);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = style.getPropertyValue("--panel");
    pen.fillRect(0, 0, across, down);
    pen.strokeStyle = style.getPropertyValue("--pad");
    pen.lineWidth = sharp;
    pen.setLineDash([]);
    pen.beginPath();
    for (let x = -down; x < across; x += 7 * sharp) { pen.moveTo(x, down); pen.lineTo(x + down, 0); }
    pen.stroke();
    pen.setTransform(scale, 0, 0, scale, margin * scale, margin * scale);
    pen.imageSmoothingEnabled = scale < 1;
    pen.drawImage(photo, 0, 0, w, h);
    if (!flags.colour) {
      pen.globalCompositeOperation = "saturation";
      pen.fillStyle = "#808080";
      pen.fillRect(0, 0, w, h);
      pen.globalCompositeOperation = "source-over";
      pen.fillStyle = "rgba(0, 0, 0, 0.28)";
      pen.fillRect(0, 0, w, h);
    }
    return { pen, one: sharp / scale };
  }

  function line(pen, path, colour, width, dash, one) {
    pen.lineCap = "butt";
    pen.setLineDash([]);
    pen.strokeStyle = "rgba(0, 0, 0, 0.75)";
    pen.lineWidth = (width + 2) * one;
    pen.stroke(path);
    pen.setLineDash(dash.map((part) => part * one));
    pen.strokeStyle = colour;
    pen.lineWidth = width * one;
    pen.stroke(path);
    pen.setLineDash([]);
  }

  function border(pen, one) {
    const edge = new Path2D();
    edge.rect(0, 0, w, h);
    line(pen, edge, "rgba(255, 255, 255, 0.55)", 1, [], one);
  }

  function cross(pen, y, x, one, arm = 7) {
    const path = new Path2D(), r = arm * one;
    path.moveTo(x - r, y); path.lineTo(x + r, y); path.moveTo(x, y - r); path.lineTo(x, y + r);
    line(pen, path, "#fff", 2, [], one);
  }

  function drawField(canvas, map, index, centre, large) {
    const { pen, one } = start(canvas), field = fieldOf(map, index);
    if (flags.theory) {
      pen.imageSmoothingEnabled = false;
      pen.drawImage(field.veil, 0, 0, w, h);
    }
    border(pen, one);
    if (large && flags.effect && map.heats) {
      const { size, bytes, half, most } = map.heats, from = index * size[0] * size[1];
      pen.imageSmoothingEnabled = true;
      pen.drawImage(heatOf(bytes, from, size, [255, 194, 31]), 0, 0, w, h);
      if (most[index] < 256) line(pen, contour(bytes, from, size, most[index]), "#ffe9ad", 1.6, [6, 4], one);
      if (half[index] < 256) line(pen, contour(bytes, from, size, half[index]), "#ffe9ad", 2.4, [], one);
    }
    if (flags.theory) {
      // A set of scattered pixels would drown in its own outline: there the veil alone shows it, with a hair line.
      if (field.holes) {
        pen.strokeStyle = "rgba(255, 255, 255, 0.55)";
        pen.lineWidth = 0.12;
        pen.stroke(field.path);
      } else line(pen, field.path, "#fff", large ? 2 : 1.4, map.exact ? [] : [4, 3], one);
      const [top, left, bottom, right] = map.boxes[index];
      if (top < 0 || left < 0 || bottom > h || right > w) {
        const beyond = new Path2D();
        beyond.rect(left, top, right - left, bottom - top);
        line(pen, beyond, "#fff", 1.4, [3, 3], one);
      }
    }
    cross(pen, centre[0], centre[1], one, large ? 7 : 3.5);
    return field;
  }

  const percent = (share) => {
    const value = 100 * share;
    if (value > 0 && value < 0.1) return "<\u00a00.1\u00a0%";
    return value < 100 && value >= 99.95 ? "99.9\u00a0%" : `${Number(value.toFixed(1))}\u00a0%`;
  };
  const extentOf = ([top, left, bottom, right]) => `${bottom - top} × ${right - left}`;

  function drawLook(centre) {
    const canvas = document.getElementById("look");
    if (!canvas || !seen.looks.length) return;
    const one = seen.looks[state.layer], row = nearest(one.cy, centre[0]), column = nearest(one.cx, centre[1]);
    const query = row * one.columns.length + column, count = one.rows.length * one.columns.length;
    const head = Math.min(state.head, one.heads.length - 1), from = (head * count + query) * one.keys[0] * one.keys[1];
    const { pen, one: unit } = start(canvas);
    pen.fillStyle = "rgba(0, 0, 0, 0.35)";
    pen.fillRect(0, 0, w, h);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(heatOf(one.bytes, from, one.keys, [90, 205, 255], 0.72), 0, 0, w, h);
    border(pen, unit);
    cross(pen, one.cy[row], one.cx[column], unit);
    const away = one.distance[head][query];
    document.getElementById("look-status").textContent =
      `Query at row ${one.rows[row]}, column ${one.columns[column]} of ${one.layer || "output"}, ${one.heads[head]}: looks ${away} pixels away on average.`;
    canvas.dataset.query = `${one.rows[row]},${one.columns[column]}`;
  }

  function draw() {
    const map = seen.neurons, index = state.row * map.columns.length + state.column;
    const centre = [map.cy[state.row], map.cx[state.column]], field = drawField(picker, map, index, centre, true);
    picker.dataset.neuron = `${map.rows[state.row]},${map.columns[state.column]}`;
    picker.dataset.count = field.count;
    let said = `Neuron at row ${map.rows[state.row]}, column ${map.columns[state.column]} of ${map.layer || "output"}: ` +
      `${map.exact ? "can see" : "can see at most"} ${field.count} pixels, ${percent(field.count / (h * w))} of the image`;
    const [top, left, bottom, right] = map.boxes[index];
    if (top < 0 || left < 0 || bottom > h || right > w) said += ` (its whole field has ${extentOf(map.boxes[index])}, the rest is padding)`;
    said += ".";
    if (map.heats) said += map.heats.most[index] < 256
      ? ` Half of its effect comes from ${percent(map.heats.halfShare[index])}, 95\u00a0% from ${percent(map.heats.mostShare[index])} of the image.`
      : " No gradient of it reaches the image.";
    status.textContent = said;
    drawLook(centre);
    seen.steps.forEach((step, place) => {
      const figure = document.getElementById("strip").children[place];
      const row = nearest(step.cy, centre[0]), column = nearest(step.cx, centre[1]), at = row * step.columns.length + column;
      const shown = drawField(figure.querySelector("canvas"), step, at, [step.cy[row], step.cx[column]], false);
      const words = `${percent(shown.count / (h * w))} of the image${step.exact ? "" : ", box"}; ${extentOf(step.boxes[at])} unclipped`;
      figure.querySelector("span").textContent = words;
      figure.querySelector("canvas").setAttribute("aria-label", `${step.layer || "output"}: ${words}`);
    });
  }

  let waiting = false;
  function later() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }
  function select(row, column, hold) {
    const moved = row !== state.row || column !== state.column;
    state.row = row;
    state.column = column;
    if (hold) {
      state.held = [row, column];
      const link = `#neuron=${seen.neurons.rows[row]},${seen.neurons.columns[column]}`;
      try { history.replaceState(null, "", link); } catch { /* a sandboxed frame keeps no links */ }
    }
    if (moved) later();
  }
  // A click holds the neuron; a mouse that only passes over shows others until it leaves.
  function pick(event, canvas, hold) {
    const box = canvas.getBoundingClientRect();
    const y = ((event.clientY - box.top) / box.height) * view.h - margin, x = ((event.clientX - box.left) / box.width) * view.w - margin;
    select(nearest(seen.neurons.cy, y), nearest(seen.neurons.cx, x), hold);
  }
  for (const canvas of [picker, document.getElementById("look")]) if (canvas) {
    canvas.addEventListener("pointerdown", (event) => pick(event, canvas, true));
    canvas.addEventListener("pointermove", (event) => pick(event, canvas, event.pointerType !== "mouse" || event.buttons > 0));
    canvas.addEventListener("pointerleave", () => select(...state.held, false));
  }
  picker.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }, move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const within = (value, list) => Math.min(list.length - 1, Math.max(0, value));
    select(within(state.row + move[0], seen.neurons.rows), within(state.column + move[1], seen.neurons.columns), true);
  });
  for (const name of Object.keys(flags)) {
    const box = document.getElementById(`show-${name}`);
    if (box) box.addEventListener("change", () => { flags[name] = box.checked; later(); });
  }
  const layer = document.getElementById("look-layer"), head = document.getElementById("look-head");
  function listHeads() {
    const names = seen.looks[state.layer].heads;
    state.head = Math.min(state.head, names.length - 1);
    head.replaceChildren(...names.map((name, i) => new Option(name, i, false, i === state.head)));
  }
  if (layer) {
    listHeads();
    layer.addEventListener("change", () => { state.layer = Number(layer.value); listHeads(); later(); });
    head.addEventListener("change", () => { state.head = Number(head.value); later(); });
  }
  function follow() {
    const [row, column] = (new URLSearchParams(location.hash.slice(1)).get("neuron") ?? "").split(",").map(Number);
    const y = seen.neurons.rows.indexOf(row), x = seen.neurons.columns.indexOf(column);
    if (y >= 0 && x >= 0) { state.row = y; state.column = x; state.held = [y, x]; }
    later();
  }
  addEventListener("hashchange", follow);
  addEventListener("resize", later);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
  follow();
  draw();
})();
