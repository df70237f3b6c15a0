"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  const frame = at("frame"), left = at("left"), right = at("right"), line = at("line");
  const split = at("split"), slice = at("slice"), brightness = at("brightness");
  const choices = [at("left-choice"), at("right-choice")];

  const say = (id, text) => { const place = at(id); if (place) place.textContent = text; };

  function show() {
    const index = slice ? Number(slice.value) : 0;
    const chosen = choices.map((choice, side) => data.layers[choice ? Number(choice.value) : 0]);
    [left, right].forEach((picture, side) => {
      if (!picture) return;
      picture.src = chosen[side].png[index];
      picture.alt = `${chosen[side].name}, slice ${data.slices[index]}`;
      picture.style.filter = `brightness(${brightness.value}%)`;
    });
    say("slice-value", `${data.slices[index]} (${index + 1} of ${data.slices.length})`);
    say("brightness-value", `${brightness.value} %`);
    say("legend", [...new Set(chosen.map((layer) => layer.legend))].join(" "));
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
    split.value = String(Math.round(100 * (event.clientX - box.left) / box.width));
    part();
  }

  if (split) {
    split.addEventListener("input", part);
    frame.addEventListener("pointerdown", (event) => {
      frame.setPointerCapture(event.pointerId);
      drag(event);
    });
    frame.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  }
  [slice, brightness, ...choices].forEach((one) => one && one.addEventListener("input", show));
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
