"use strict";
/* A clip's own page: its storyboard to scrub, what was found drawn on it, what is said, what is like it, all columns. */
(() => {
  const { draw, filters } = vidray;
  const { element } = draw;

  const view = vidray.view = { clip: null, tile: 0 };
  let times = [], rows = {}, stage, picture, boxes, slider, caption, strip;

  const items = (value) => Array.isArray(value) ? value : value?.first || [];
  // a table has null where there is no score
  const score = (one) => one.score == null ? "" : draw.number(Number(one.score.toPrecision(2)));
  const isNear = (seen, from, to) => seen.time_s != null
    ? seen.time_s >= from && seen.time_s < to : seen.start_s < to && seen.end_s > from;

  /** What was seen about a time, of all tables: boxes with x0, y0, x1, y1 in [0, 1]. */
  const seenAt = (from, to) => {
    const found = [];
    Object.keys(rows).forEach((table) => {
      for (const value of Object.values(rows[table])) {
        for (const item of items(value)) {
          if (!item || typeof item !== "object") continue;
          if (item.x0 != null && isNear(item, from, to)) found.push({ table, ...item });
          for (const box of items(item.boxes)) {
            if (isNear(box, from, to)) found.push({ table, label: item.label, score: item.score, ...box });
          }
        }
      }
    });
    return found;
  };

  const drawBoxes = () => {
    const from = times[view.tile] ?? view.clip.start;
    const to = times[view.tile + 1] ?? view.clip.end;
    const seen = seenAt(from, to);
    // of what was seen more than once between two tiles, the first time is what the tile shows
    const first = new Map();
    for (const one of seen) if (one.time_s != null) first.set(one.table, Math.min(first.get(one.table) ?? Infinity, one.time_s));
    boxes.replaceChildren(...seen.filter((one) => one.time_s == null || one.time_s === first.get(one.table)).map((one) => {
      const text = [one.label ?? one.text ?? one.table.split("/").pop(), score(one)];
      const box = element("div", { class: "box" }, element("span", { text: text.join(" ").trim() }));
      box.style.left = `${100 * one.x0}%`;
      box.style.top = `${100 * one.y0}%`;
      box.style.width = `${100 * (one.x1 - one.x0)}%`;
      box.style.height = `${100 * (one.y1 - one.y0)}%`;
      return box;
    }));
  };

  /** Show one tile of the storyboard. */
  view.show = (tile) => {
    const { clip } = view;
    if (!clip?.tiles) return;
    view.tile = Math.min(clip.tiles - 1, Math.max(0, tile));
    draw.tile(picture, clip, view.tile, stage.clientWidth, stage.clientHeight);
    picture.hidden = false;
    slider.value = view.tile;
    caption.textContent = times[view.tile] === undefined ? "" : draw.time(times[view.tile]);
    boxes.style.cssText = "";
    for (const side of ["left", "top", "width", "height"]) boxes.style[side] = picture.style[side];
    drawBoxes();
    [...strip.children].forEach((child, at) => child.classList.toggle("here", at === view.tile));
  };

  view.seek = (time) => {
    let tile = 0;
    times.forEach((at, number) => { if (at <= time + 1e-6) tile = number; });
    view.show(tile);
    vidray.server?.seek(time);
  };

  const spoken = () => Object.entries(rows).flatMap(([table, row]) => {
    if (typeof row.text !== "string" && !row.segments && !row.lines) return [];
    const parts = items(row.segments).concat(items(row.lines)).filter((part) => part && part.text);
    if (!parts.length && !row.text) return [];
    const lines = parts.map((part) => element("button", { type: "button", class: "line", onclick: () => view.seek(part.start_s) },
      element("span", { class: "time", text: draw.time(part.start_s) }), element("span", { text: part.text })));
    return [element("section", {}, element("h3", { text: table.replace(/^features\//, "") + (row.language ? ` (${row.language})` : "") }),
      lines.length ? lines : element("p", { text: row.text }))];
  });

  const value = (held) => {
    if (held !== null && typeof held === "object") {
      const list = items(held);
      if (list.length && list.every((one) => one && one.label != null && "score" in one && one.x0 === undefined)) {
        return element("span", { class: "chips" }, list.map((one) =>
          element("span", { class: "chip", text: `${one.label} ${score(one)}`.trim() })));
      }
      const text = JSON.stringify(held);
      if (text.length < 120) return element("code", { text });
      const many = Array.isArray(held) ? held.length : held.of ?? Object.keys(held).length;
      return element("details", {}, element("summary", { text: `${draw.count(many)} entries` }),
        element("pre", { text: JSON.stringify(held, null, 1) }));
    }
    return element("span", { text: typeof held === "number" ? draw.number(held) : String(held) });
  };

  const columns = () => Object.entries(rows).map(([table, row]) => {
    const kept = Object.entries(row).filter(([name]) => name !== "tile_times_s");
    return kept.length ? element("section", {}, element("h3", { text: table.replace(/^features\//, "") }),
      element("dl", {}, kept.flatMap(([name, held]) => [element("dt", { text: name }), element("dd", {}, value(held))]))) : null;
  });

  const given = async (clip) => {
    const found = [];
    for (const [number, column] of vidray.manifest.columns.entries()) {
      if (!column.table.startsWith("labels/")) continue;
      const { clips, codes, scores } = await vidray.column(number);
      const names = await vidray.load(`names/${number}`);
      for (let at = 0; at < clips.length; at++) {
        if (clips[at] === clip.number) found.push(element("span", { class: "chip", text: `${column.name}: ${names[codes[at]]} ${draw.number(scores[at])}` }));
      }
    }
    return found;
  };

  const alike = async (clip) => {
    const found = [];
    for (const one of vidray.manifest.alike.filter((index) => !index.error)) {
      const near = await vidray.neighbours(one, clip.number);
      if (!near.length) continue;
      found.push(element("section", {},
        element("div", { class: "title" }, element("h3", { text: `Like this by ${one.table}` }),
          draw.button("Show in the grid", () => {
            filters.show([clip.number, ...near], `like ${clip.name} ${draw.time(clip.start)}, by ${one.table}`);
            location.hash = "#/clips";
          }, { class: "quiet" })),
        element("div", { class: "row-of-posters" }, near.slice(0, 8).map((number) => draw.poster(number)))));
    }
    return found;
  };

  const step = (by) => {
    const at = filters.shown.indexOf(view.clip.number) + by;
    if (at < 0 || at >= filters.shown.length) return;
    vidray.grid.at = at;
    location.replace(`#/clip/${vidray.clips.of(filters.shown[at]).id}`);
  };

  const head = (clip) => element("header", {},
    element("div", { class: "what" }, element("h2", { text: clip.name }),
      element("p", { class: "hint", text: `${draw.time(clip.start)}–${draw.time(clip.end)} of ${clip.uri}` })),
    draw.button("‹", () => step(-1), { class: "quiet", "aria-label": "The clip before (p)", title: "The clip before (p)" }),
    draw.button("›", () => step(1), { class: "quiet", "aria-label": "The next clip (n)", title: "The next clip (n)" }),
    draw.button("Select", () => { vidray.grid.pick(clip.number); selected(clip); }, { class: "quiet select" }),
    draw.button("×", () => document.getElementById("clip").close(), { class: "quiet", "aria-label": "Close (Esc)", title: "Close (Esc)" }));

  const selected = (clip) => {
    document.querySelector("#clip .select").textContent = vidray.grid.selection.has(clip.number) ? "Selected" : "Select";
  };

  const scrubber = (clip) => {
    stage = element("div", { class: "stage-box" });
    picture = element("div", { class: "tile", hidden: true });
    boxes = element("div", { class: "boxes" });
    caption = element("output", { class: "time" });
    stage.append(clip.tiles ? draw.image(clip.number, { soon: true })
      : element("span", { class: "blank", text: "no thumbnails: vidray extract CORPUS STORE -x thumbnails" }), picture, boxes, caption);
    slider = element("input", { type: "range", min: 0, max: Math.max(0, clip.tiles - 1), step: 1, value: 0, "aria-label": "Tile",
      oninput: () => view.show(Number(slider.value)) });
    stage.addEventListener("pointermove", (event) => {
      if (!clip.tiles || event.target.closest("video")) return;
      const box = stage.getBoundingClientRect();
      view.show(Math.floor(Math.min(0.9999, Math.max(0, (event.clientX - box.left) / box.width)) * clip.tiles));
    });
    strip = element("div", { class: "strip" });
    for (let tile = 0; tile < clip.tiles; tile++) {
      const shown = element("div", { class: "tile" });
      draw.tile(shown, clip, tile, 96, 96 * clip.height / clip.width);
      strip.append(element("button", { type: "button", "aria-label": `Tile ${tile + 1}`, onclick: () => view.show(tile) }, shown));
    }
    return [stage, clip.tiles > 1 && slider, strip];
  };

  /** Open the page of a clip. */
  view.open = async (number) => {
    const dialog = document.getElementById("clip");
    const clip = view.clip = vidray.clips.of(number);
    view.tile = 0;
    rows = {};
    times = [];
    const side = element("div", { class: "side" });
    const body = element("div", { class: "inside" }, element("div", { class: "look" }, ...scrubber(clip)), side);
    dialog.replaceChildren(head(clip), body);
    if (!dialog.open) dialog.showModal();
    document.querySelector("#clip .look").scrollTop = 0;
    selected(clip);
    vidray.server?.opened(clip, document.querySelector("#clip .look"), stage);
    rows = await vidray.details(number);
    if (view.clip !== clip) return;
    for (const row of Object.values(rows)) times = row.tile_times_s ? items(row.tile_times_s) : times;
    const [labels, near] = await Promise.all([given(clip), alike(clip)]);
    if (view.clip !== clip) return;
    side.replaceChildren(...[labels.length && element("section", {}, element("h3", { text: "Labels" }), element("span", { class: "chips" }, labels)),
      ...spoken(), ...near,
      element("section", {}, element("h3", { text: "On the command line" }),
        draw.code(`vidray search ${vidray.shell(vidray.manifest.store)} --clip ${clip.id}`)),
      ...columns()].filter(Boolean));
    // the poster is sharper than a tile, and stays until somebody scrubs
    caption.textContent = clip.tiles ? draw.time(clip.start) : "";
  };

  view.close = () => {
    const dialog = document.getElementById("clip");
    view.clip = null;
    if (dialog.open) dialog.close();
  };

  const keys = {
    ArrowRight: () => view.show(view.tile + 1), ArrowLeft: () => view.show(view.tile - 1),
    n: () => step(1), p: () => step(-1), x: () => { vidray.grid.pick(view.clip.number); selected(view.clip); },
  };

  view.key = (event) => {
    const run = keys[event.key];
    if (!run || event.ctrlKey || event.metaKey || event.altKey) return false;
    run();
    return true;
  };

  view.start = () => {
    const dialog = document.getElementById("clip");
    dialog.addEventListener("close", () => { view.clip = null; vidray.server?.closed(); vidray.closeClip(); });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    new ResizeObserver(() => { if (view.clip && picture && !picture.hidden) view.show(view.tile); }).observe(dialog);
  };
})();
