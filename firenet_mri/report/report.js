"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  const frame = at("frame"), left = at("left"), right = at("right"), line = at("line");
  const split = at("split"), slice = at("slice"), brightness = at("brightness");
  const time = at("time"), play = at("play"), marking = at("marking"), curve = at("curve");
  const frames = data.frames.length;
  const choices = [at("left-choice"), at("right-choice")];

  const say = (id, text) => { const place = at(id); if (place) place.textContent = text; };

  const chosenLayers = () => choices.map((one) => data.layers[one ? Number(one.value) : 0]);

  function show() {
    const place = slice ? Number(slice.value) : 0, moment = time ? Number(time.value) : 0;
    const index = place * frames + moment;
    const chosen = chosenLayers();
    [left, right].forEach((picture, side) => {
      if (!picture) return;
      picture.src = chosen[side].png[index];
      const when = time ? `, ${data.counter} ${data.frames[moment]}` : "";
      picture.alt = `${chosen[side].name}, slice ${data.slices[place]}${when}`;
      picture.style.filter = `brightness(${brightness.value}%)`;
    });
    say("slice-value", `${data.slices[place]} (${place + 1} of ${data.slices.length})`);
    say("time-value", `${data.frames[moment]} (${moment + 1} of ${frames})`);
    say("brightness-value", `${brightness.value} %`);
    say("legend", [...new Set(chosen.map((layer) => layer.legend))].join(" "));
    if (curve) draw(chosen, place, moment);
  }

  // Of a layer and slice the grey values of all frames; null while they are being read.
  const known = new Map();
  function levels(layer, place) {
    const key = `${data.layers.indexOf(layer)} ${place}`;
    if (!known.has(key)) {
      known.set(key, null);
      Promise.all(layer.png.slice(place * frames, (place + 1) * frames).map(read))
        .then((found) => { known.set(key, found); show(); });
    }
    return known.get(key);
  }

  async function read(source) {
    const picture = new Image();
    picture.src = source;
    await picture.decode();
    const canvas = document.createElement("canvas");
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    const pen = canvas.getContext("2d");
    pen.drawImage(picture, 0, 0);
    const values = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    return { width: canvas.width, height: canvas.height, values };
  }

  const point = { x: data.mark[0], y: data.mark[1] };
  const WIDTH = 600, HEIGHT = 160, EDGE = 8;

  function shape(kind, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    return made;
  }

  function draw(chosen, place, moment) {
    const across = (index) => EDGE + (WIDTH - 2 * EDGE) * index / Math.max(1, frames - 1);
    const up = (level) => HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * level / 255;
    const drawing = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" });
    [0, 255].forEach((level) => drawing.append(
      shape("line", { class: "rule", x1: 0, x2: WIDTH, y1: up(level), y2: up(level) })));
    drawing.append(
      shape("line", { class: "now", x1: across(moment), x2: across(moment), y1: 0, y2: HEIGHT }));
    const grey = [...new Set(chosen)].filter((layer) => layer.grey);
    grey.forEach((layer) => {
      const found = levels(layer, place);
      if (!found) return;
      const points = found.map(({ width, height, values }, index) => {
        const column = Math.min(width - 1, Math.floor(point.x * width));
        const row = Math.min(height - 1, Math.floor(point.y * height));
        return `${across(index)},${up(values[4 * (row * width + column)])}`;
      });
      const side = layer === chosen[0] && grey.length > 1 ? "first" : "second";
      drawing.append(shape("polyline", { class: side, points: points.join(" ") }));
    });
    curve.replaceChildren(drawing);
    at("mark").style.left = `${100 * point.x}%`;
    at("mark").style.top = `${100 * point.y}%`;
    const names = grey.map((layer, index) =>
      grey.length > 1 && index === 0 ? `${layer.name} (dashed)` : layer.name).join(" and ");
    say("curve-text", names
      ? `The marked pixel over time, from black to white: ${names}. The arrow keys move the mark `
        + "when the image has the focus."
      : "Errors have no curve; choose an image on one side.");
  }

  function move(x, y) {
    point.x = Math.min(0.9999, Math.max(0, x));
    point.y = Math.min(0.9999, Math.max(0, y));
    show();
  }

  let timer = 0;
  function toggle() {
    if (timer) { clearInterval(timer); timer = 0; } else {
      timer = setInterval(() => {
        time.value = String((Number(time.value) + 1) % frames);
        show();
      }, data.frame_ms);
    }
    play.textContent = timer ? "Pause" : "Play";
  }

  if (time) {
    play.addEventListener("click", toggle);
    frame.tabIndex = 0;
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", "Images; the arrow keys move the mark");
    frame.addEventListener("keydown", (event) => {
      const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
        event.key] || [0, 0];
      if (!x && !y) return;
      event.preventDefault();
      move(point.x + x / right.naturalWidth, point.y + y / right.naturalHeight);
    });
  }

  function part() {
    if (!split) { line.hidden = true; return; }
    left.style.clipPath = `inset(0 ${100 - split.value}% 0 0)`;
    line.style.left = `${split.value}%`;
    line.hidden = split.value === "0" || split.value === "100";
    say("split-value", `${split.value} %`);
  }

  function drag(event) {
    const box = frame.getBoundingClientRect();
    if (marking && marking.checked) {
      move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
      return;
    }
    if (!split) return;
    split.value = String(Math.round(100 * (event.clientX - box.left) / box.width));
    part();
  }

  if (split) split.addEventListener("input", part);
  if (split || marking) {
    frame.addEventListener("pointerdown", (event) => {
      frame.setPointerCapture(event.pointerId);
      drag(event);
    });
    frame.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  }
  [slice, time, brightness, ...choices].forEach((one) => one && one.addEventListener("input", show));
  at("pixels").addEventListener("change", (event) => {
    frame.classList.toggle("squares", event.target.checked);
  });

  document.querySelectorAll(".copy").forEach((button) => button.addEventListener("click", async () => {
    const source = at(button.dataset.of);
    let done = true;
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // A page that was opened as a file may have no clipboard: select the text instead.
      getSelection().selectAllChildren(source);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }));

  show();
  part();
})();
