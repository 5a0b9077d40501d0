// The test canvas: a reader picks a query; every network shows what can reach it, where it looks or what counts in its
// answer, and what it says.
// Reads the numbers that scene_data.py packed; draws SVG. A link may name a query: #scene=1&query=row,column&squares=effect.
"use strict";
(() => {
  const scenes = JSON.parse(document.getElementById("scene-data").textContent);
  const root = document.getElementById("explorer");
  if (!scenes.length || !root) return;
  const SVG = "http://www.w3.org/2000/svg";
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  for (const scene of scenes) {
    scene.looks = scene.looks.map((text) => (text ? bytes(text) : null));
    scene.reach = scene.reach.map(bytes);
    scene.effect = scene.effect.map(bytes);
  }
  const state = { scene: 0, query: scenes[0].start, squares: "looks" };

  const element = (name, attributes = {}, children = []) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const boxOf = (index, grid, [h, w]) => {
    const row = Math.floor(index / grid[1]), column = index % grid[1];
    return { x: (column * w) / grid[1], y: (row * h) / grid[0], width: w / grid[1], height: h / grid[0] };
  };
  const canReach = (scene, network, query, cell) => {
    const bit = query * scene.cells[0] * scene.cells[1] + cell;
    return (scene.reach[network][bit >> 3] >> (7 - (bit & 7))) & 1;
  };

  // Dark veils on what cannot reach the query, and one line around what can.
  function fieldOf(scene, network, query) {
    const [rows, columns] = scene.cells, parts = [];
    const seen = (y, x) => y >= 0 && x >= 0 && y < rows && x < columns && canReach(scene, network, query, y * columns + x);
    const ch = scene.pixels[0] / rows, cw = scene.pixels[1] / columns;
    let edges = "", count = 0;
    for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
      const here = seen(y, x);
      if (here) count += 1;
      else parts.push(element("rect", { class: "veil", x: x * cw, y: y * ch, width: cw, height: ch }));
      if (here && !seen(y - 1, x)) edges += `M${x * cw} ${y * ch}h${cw}`;
      if (here && !seen(y + 1, x)) edges += `M${x * cw} ${(y + 1) * ch}h${cw}`;
      if (here && !seen(y, x - 1)) edges += `M${x * cw} ${y * ch}v${ch}`;
      if (here && !seen(y, x + 1)) edges += `M${(x + 1) * cw} ${y * ch}v${ch}`;
    }
    if (edges) parts.push(element("path", { class: "edge", d: edges }));
    return { parts, count };
  }

  // A square for every position that is looked at, or every cell that counts, its area in proportion to the weight.
  function squaresOf(scene, network, query) {
    const shares = scene[state.squares][network], grid = state.squares === "looks" ? scene.map : scene.cells;
    if (!shares) return [];
    const count = grid[0] * grid[1], parts = [];
    for (let key = 0; key < count; key++) {
      const share = shares[query * count + key] / 255;
      if (share < 0.01) continue;
      const box = boxOf(key, grid, scene.pixels), side = Math.sqrt(share);
      parts.push(element("rect", {
        class: "look", x: box.x + (box.width * (1 - side)) / 2, y: box.y + (box.height * (1 - side)) / 2,
        width: box.width * side, height: box.height * side,
      }));
    }
    return parts;
  }

  function marksOf(scene, query) {
    const box = boxOf(query, scene.map, scene.pixels), x = box.x + box.width / 2, y = box.y + box.height / 2;
    const radius = Math.max(0.45 * Math.min(box.width, box.height), 0.05 * scene.pixels[0]), parts = [];
    const answer = scene.answer[scene.cell[query]];
    if (scene.truth[query] >= 0 && answer >= 0) {
      const where = boxOf(answer, scene.cells, scene.pixels);
      for (const name of ["answer-back", "answer"]) parts.push(element("rect", { class: name, ...where, rx: 1 }));
    }
    for (const name of ["query-back", "query"]) parts.push(element("circle", { class: name, cx: x, cy: y, r: radius }));
    return parts;
  }

  const picture = (scene) => element("image", { href: scene.image, width: scene.pixels[1], height: scene.pixels[0] });
  function paint(svg, scene, parts) {
    svg.setAttribute("viewBox", `0 0 ${scene.pixels[1]} ${scene.pixels[0]}`);
    svg.replaceChildren(picture(scene), ...parts, ...marksOf(scene, state.query));
  }

  const picker = document.getElementById("picker"), status = document.getElementById("query-status");
  const panels = document.getElementById("panels"), choice = document.getElementById("scene-choice");

  function words(scene, network, query, count) {
    const truth = scene.truth[query], said = scene.said[network][query], cells = scene.cells[0] * scene.cells[1];
    const answer = scene.answer[scene.cell[query]];
    const lines = [];
    if (truth < 0) lines.push(["quiet", `no question here (says ${said})`]);
    else if (said === truth) lines.push(["right", `✓ says ${said}, right`]);
    else lines.push(["wrong", `✗ says ${said}, not ${truth}`]);
    let reach = count === cells ? `Every cell can reach it` : `${count} of ${cells} cells can reach it`;
    if (truth >= 0 && answer >= 0) {
      const within = canReach(scene, network, query, answer);
      reach += count === cells ? "." : within ? "; the answer is one of them." : "; the answer is not one of them.";
    } else reach += ".";
    lines.push(["", reach]);
    const effect = scene.effectOnAnswer[network][query], share = scene.onAnswer[network][query];
    if (state.squares === "effect") {
      if (truth >= 0 && effect >= 0) lines.push(["", `${effect} % of what counts lies on the answer.`]);
    } else if (!scene.looks[network]) lines.push(["quiet", "It has no attention to show."]);
    else if (truth >= 0 && share >= 0) lines.push(["", `${share} % of its look falls on the answer.`]);
    return lines;
  }

  function draw() {
    const scene = scenes[state.scene], row = Math.floor(state.query / scene.map[1]), column = state.query % scene.map[1];
    const truth = scene.truth[state.query];
    paint(picker, scene, []);
    if (panels.children.length !== scene.networks.length || panels.dataset.scene !== String(state.scene)) {
      panels.dataset.scene = String(state.scene);
      panels.replaceChildren(...scene.networks.map((name) => {
        const figure = document.createElement("figure"), svg = element("svg", { class: "canvas", role: "img" });
        const caption = document.createElement("figcaption");
        svg.addEventListener("pointerdown", (event) => pick(event, svg));
        figure.append(svg, caption);
        figure.dataset.network = name;
        return figure;
      }));
    }
    const right = [];
    scene.networks.forEach((name, network) => {
      const figure = panels.children[network], field = fieldOf(scene, network, state.query);
      paint(figure.firstChild, scene, [...field.parts, ...squaresOf(scene, network, state.query)]);
      const title = document.createElement("strong");
      title.textContent = name;
      const lines = words(scene, network, state.query, field.count);
      figure.lastChild.replaceChildren(title, ...lines.map(([kind, text]) => {
        const line = document.createElement("span");
        line.className = kind;
        line.textContent = text;
        return line;
      }));
      figure.firstChild.setAttribute("aria-label", `${name}: ${lines.map(([, text]) => text).join(" ")}`);
      if (scene.said[network][state.query] === truth) right.push(name);
    });
    status.textContent = `Query at row ${row}, column ${column}: ` +
      (truth < 0 ? "nothing is asked here." : `the truth is ${truth}. Right: ${right.join(", ") || "none of them"}.`);
    if (choice) choice.value = String(state.scene);
    for (const radio of document.querySelectorAll("input[name=squares]")) radio.checked = radio.value === state.squares;
  }

  function select(query, remember = true) {
    state.query = query;
    draw();
    const [, columns] = scenes[state.scene].map;
    const link = `#scene=${state.scene}&query=${Math.floor(query / columns)},${query % columns}` +
      (state.squares === "looks" ? "" : `&squares=${state.squares}`);
    if (remember) try { history.replaceState(null, "", link); } catch { /* a sandboxed frame keeps no links */ }
  }

  function pick(event, svg) {
    const scene = scenes[state.scene], box = svg.getBoundingClientRect();
    const place = (value, count) => Math.min(count - 1, Math.max(0, Math.floor(value * count)));
    const row = place((event.clientY - box.top) / box.height, scene.map[0]);
    select(row * scene.map[1] + place((event.clientX - box.left) / box.width, scene.map[1]));
  }

  function nextQuestion(step) {
    const scene = scenes[state.scene], count = scene.truth.length, cell = scene.cell[state.query];
    for (let i = 1, at = state.query; i <= count; i++) {
      at = (at + step + count) % count;
      const first = scene.cell.findIndex((c, q) => c === scene.cell[at] && scene.truth[q] >= 0);
      if (scene.truth[at] >= 0 && scene.cell[at] !== cell && at === first) return select(at);
    }
  }

  picker.addEventListener("pointerdown", (event) => pick(event, picker));
  picker.addEventListener("keydown", (event) => {
    const scene = scenes[state.scene], moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const row = Math.min(scene.map[0] - 1, Math.max(0, Math.floor(state.query / scene.map[1]) + move[0]));
    select(row * scene.map[1] + Math.min(scene.map[1] - 1, Math.max(0, (state.query % scene.map[1]) + move[1])));
  });
  for (const radio of document.querySelectorAll("input[name=squares]")) {
    radio.addEventListener("change", () => { state.squares = radio.value; select(state.query); });
  }
  document.getElementById("next-question").addEventListener("click", () => nextQuestion(1));
  document.getElementById("previous-question").addEventListener("click", () => nextQuestion(-1));
  if (choice) choice.addEventListener("change", () => {
    state.scene = Number(choice.value);
    select(scenes[state.scene].start);
  });

  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const scene = Number(asked.get("scene") ?? state.scene);
    if (asked.get("squares") in { looks: 0, effect: 0 }) state.squares = asked.get("squares");
    if (scenes[scene]) state.scene = scene;
    const [rows, columns] = scenes[state.scene].map, [row, column] = (asked.get("query") ?? "").split(",").map(Number);
    const inside = Number.isInteger(row) && Number.isInteger(column) && row >= 0 && column >= 0 && row < rows && column < columns;
    select(inside && asked.get("query") ? row * columns + column : scenes[state.scene].start, false);
  }
  addEventListener("hashchange", follow);
  follow();
})();
