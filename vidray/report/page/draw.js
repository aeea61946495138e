"use strict";
/* Elements and small charts. Text is set as text alone, never as markup: names and titles come from strangers' files. */
(() => {
  const fill = (element, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name === "text") element.textContent = value;
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  };

  const draw = vidray.draw = {};

  draw.element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  draw.svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  const whole = new Intl.NumberFormat("en");
  draw.count = (number) => whole.format(number);

  /** A number as a person reads it: at most four digits that matter. */
  draw.number = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (Number.isInteger(value)) return whole.format(value);
    const size = Math.abs(value);
    if (size !== 0 && (size < 0.001 || size >= 1e7)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
  };

  /** Seconds as m:ss, with tenths where they are not whole. */
  draw.time = (seconds) => {
    const tenths = Math.round(seconds * 10);
    const hours = Math.floor(tenths / 36000), minutes = Math.floor(tenths / 600) % 60;
    const rest = (tenths % 600) / 10;
    const text = Number.isInteger(rest) ? String(rest).padStart(2, "0") : rest.toFixed(1).padStart(4, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${text}` : `${minutes}:${text}`;
  };

  draw.size = (bytes) => {
    const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let at = 0;
    while (bytes >= 1000 && at < units.length - 1) { bytes /= 1000; at++; }
    return `${at && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[at]}`;
  };

  draw.button = (text, run, attributes = {}) =>
    draw.element("button", { type: "button", text, onclick: run, ...attributes });

  /** Say something in passing. */
  let hiding = 0;
  draw.note = (text) => {
    const note = document.getElementById("note");
    note.textContent = text;
    note.classList.add("shown");
    clearTimeout(hiding);
    hiding = setTimeout(() => note.classList.remove("shown"), 4000);
  };

  draw.copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // pages from disk may not use the clipboard in every browser
      const held = draw.element("textarea", { class: "offstage" });
      held.value = text;
      (document.querySelector("dialog[open]") || document.body).append(held);
      held.select();
      document.execCommand("copy");
      held.remove();
    }
    draw.note("Copied");
  };

  /** A line of code with a button that copies it. */
  draw.code = (text) => draw.element("div", { class: "code" },
    draw.element("code", { text }), draw.button("Copy", () => draw.copy(text), { class: "quiet" }));

  /** Values with how many there are of each, as bars; `run` is called with the value that is chosen. */
  draw.bars = (rows, { run, unit = "", most } = {}) => {
    const highest = Math.max(1, ...rows.map(([, count]) => count));
    return draw.element("ul", { class: "bars" }, rows.slice(0, most).map(([name, count]) => {
      const bar = draw.element("span", { class: "fill" });
      bar.style.width = `${100 * count / highest}%`;
      const inside = [bar, draw.element("span", { class: "name", text: name, title: name }),
        draw.element("span", { class: "value", text: draw.number(count) + unit })];
      return draw.element("li", {}, run
        ? draw.element("button", { type: "button", class: "row", onclick: () => run(name) }, inside)
        : draw.element("div", { class: "row" }, inside));
    }));
  };

  /** A histogram: `bins` over [low, high]. */
  draw.histogram = ({ bins, low, high }, { height = 56 } = {}) => {
    const highest = Math.max(1, ...bins);
    const chart = draw.svg("svg", {
      class: "histogram", viewBox: `0 0 ${bins.length * 10} ${height}`, preserveAspectRatio: "none", role: "img",
      "aria-label": `from ${draw.number(low)} to ${draw.number(high)}`,
    });
    bins.forEach((count, at) => {
      // a bin with anything in it is seen
      const tall = count ? Math.max(1.5, (height - 2) * count / highest) : 0;
      const title = draw.svg("title");
      const width = (high - low) / bins.length;
      title.textContent = `${draw.number(low + at * width)} to ${draw.number(low + (at + 1) * width)}: ${draw.count(count)}`;
      chart.append(draw.svg("rect", { x: at * 10 + 1, y: height - tall, width: 8, height: tall }, title));
    });
    return chart;
  };

  draw.scale = ({ low, high }, unit = "") => draw.element("div", { class: "scale" },
    draw.element("span", { text: draw.number(low) + unit }), draw.element("span", { text: draw.number(high) + unit }));

  /** Show one tile of a clip's storyboard in a box of so many pixels, whole. */
  draw.tile = (element, clip, tile, boxWidth, boxHeight) => {
    const factor = Math.min(boxWidth / clip.width, boxHeight / clip.height);
    const width = clip.width * factor, height = clip.height * factor;
    const rows = Math.ceil(clip.tiles / clip.columns);
    const style = element.style;
    style.width = `${width}px`;
    style.height = `${height}px`;
    style.left = `${(boxWidth - width) / 2}px`;
    style.top = `${(boxHeight - height) / 2}px`;
    if (element.dataset.of !== String(clip.number)) {
      style.backgroundImage = "";
      element.dataset.of = clip.number;
      vidray.image(clip.number, "s", (url) => {
        if (element.dataset.of === String(clip.number)) style.backgroundImage = `url("${url}")`;
      });
    }
    style.backgroundSize = `${width * clip.columns}px ${height * rows}px`;
    style.backgroundPosition =
      `${-(tile % clip.columns) * width}px ${-Math.floor(tile / clip.columns) * height}px`;
    element.dataset.tile = tile;
  };

  const waiting = new WeakMap();
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      vidray.image(waiting.get(target), "p", (url) => { target.src = url; });
    }
  }, { rootMargin: "300px" });

  /** The poster of a clip; one that is far from the window is loaded when it comes near. */
  draw.image = (number, { soon = false } = {}) => {
    const made = draw.element("img", { alt: "", draggable: "false", decoding: "async" });
    if (soon) {
      vidray.image(number, "p", (url) => { made.src = url; });
    } else {
      waiting.set(made, number);
      seen.observe(made);
    }
    return made;
  };

  /** A clip as a small poster that opens it. */
  draw.poster = (number, caption) => {
    const clip = vidray.clips.of(number);
    const shown = clip && clip.tiles
      ? draw.image(number)
      : draw.element("span", { class: "blank", text: clip ? clip.name : "" });
    const told = clip ? `${clip.name} ${draw.time(clip.start)}–${draw.time(clip.end)}` : "";
    return draw.element("a", { class: "poster", href: clip ? `#/clip/${clip.id}` : "#/clips", title: told },
      shown, caption && draw.element("span", { class: "caption", text: caption }));
  };
})();
