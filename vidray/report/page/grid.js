"use strict";
/* The grid of posters: only what is near the window is in the page; a poster scrubs under the pointer. */
(() => {
  const { draw, filters } = vidray;
  const { element } = draw;
  const GAP = 12, NAME = 26, NOTE = 17;

  const grid = vidray.grid = { selection: new Set(), at: 0 };
  const cards = new Map();
  let canvas, columns = 1, width = 0, height = 0;

  const place = (event, box) => Math.min(0.9999, Math.max(0, (event.clientX - box.left) / box.width));

  const scrub = (card, clip, share) => {
    const frame = card.querySelector(".frame");
    const tile = frame.querySelector(".tile");
    const number = Math.floor(share * clip.tiles);
    draw.tile(tile, clip, number, frame.clientWidth, frame.clientHeight);
    tile.hidden = false;
    const marker = frame.querySelector(".marker");
    marker.hidden = false;
    marker.style.left = `${100 * (number + 0.5) / clip.tiles}%`;
  };

  const rest = (card) => {
    card.querySelector(".tile").hidden = true;
    card.querySelector(".marker").hidden = true;
  };

  const make = (at) => {
    const clip = vidray.clips.of(filters.shown[at]);
    const frame = element("div", { class: "frame" });
    const card = element("div", { class: "clip", role: "option", id: `at${at}`, "data-at": at });
    if (!clip) return card;
    card.dataset.clip = clip.number;
    frame.append(
      clip.tiles ? draw.image(clip.number, { soon: true })
        : element("span", { class: "blank", text: "no thumbnail" }),
      element("div", { class: "tile", hidden: true }), element("div", { class: "marker", hidden: true }),
      element("span", { class: "time", text: `${draw.time(clip.start)}–${draw.time(clip.end)}` }),
      element("button", { type: "button", class: "pick", tabindex: "-1", "aria-label": "Select",
        onclick: (event) => { event.stopPropagation(); grid.pick(clip.number, event.shiftKey ? at : null); grid.at = at; mark(); } }));
    if (clip.tiles) {
      frame.addEventListener("pointermove", (event) => scrub(card, clip, place(event, frame.getBoundingClientRect())));
      frame.addEventListener("pointerleave", () => rest(card));
      // a finger that leaves sideways scrubs on, one that moves up or down scrolls
      frame.addEventListener("pointercancel", () => rest(card));
    }
    card.append(frame, element("div", { class: "name", text: clip.name, title: clip.uri }),
      element("div", { class: "note", text: told(clip, at) }));
    card.addEventListener("click", () => { grid.at = at; location.hash = `#/clip/${clip.id}`; });
    return card;
  };

  /** What is said below a clip's name: what the clips are sorted by. */
  const told = (clip, at) => {
    if (filters.found?.scores) return filters.found.scores.get(clip.number) ?? "";
    const { by } = filters.order;
    if (by === "plan" || filters.found) return "";
    const column = vidray.manifest.columns[by];
    const values = grid.values?.[by];
    if (!values || !values.length) return filters.title(column);
    const value = values[clip.number];
    return `${filters.title(column)} ${column.kind === "category" ? column.names[value] ?? "–" : draw.number(value)}`;
  };

  const measure = () => {
    const room = canvas.clientWidth;
    columns = Math.max(2, Math.floor((room + GAP) / (room < 520 ? 170 : 232)));
    width = (room - GAP * (columns - 1)) / columns;
    const hasNotes = filters.found ? Boolean(filters.found.scores) : filters.order.by !== "plan";
    height = Math.round(width * 9 / 16) + NAME + (hasNotes ? NOTE : 0);
    canvas.style.height = `${Math.ceil(filters.shown.length / columns) * (height + GAP)}px`;
  };

  const position = (card, at) => {
    card.style.width = `${width}px`;
    card.style.height = `${height}px`;
    card.style.transform = `translate(${(at % columns) * (width + GAP)}px, ${Math.floor(at / columns) * (height + GAP)}px)`;
  };

  /** Have the cards in the page that are in the window, or as far from it as the window is high. */
  const show = () => {
    if (!canvas || canvas.closest("[hidden]")) return;
    const top = -canvas.getBoundingClientRect().top, tall = window.innerHeight;
    const first = Math.max(0, Math.floor((top - tall) / (height + GAP))) * columns;
    const stop = Math.min(filters.shown.length, Math.ceil((top + 2 * tall) / (height + GAP)) * columns);
    for (const [at, card] of cards) {
      if (at < first || at >= stop) { card.remove(); cards.delete(at); }
    }
    for (let at = first; at < stop; at++) {
      if (cards.has(at)) continue;
      const card = make(at);
      cards.set(at, card);
      position(card, at);
      canvas.append(card);
    }
    mark();
  };

  const mark = () => {
    for (const [at, card] of cards) {
      const isPicked = grid.selection.has(Number(card.dataset.clip));
      card.classList.toggle("picked", isPicked);
      card.setAttribute("aria-selected", isPicked);
      card.classList.toggle("here", at === grid.at);
    }
    if (cards.has(grid.at)) canvas.setAttribute("aria-activedescendant", `at${grid.at}`);
  };

  let isPlanned = false;
  const soon = () => {
    if (isPlanned) return;
    isPlanned = true;
    requestAnimationFrame(() => { isPlanned = false; show(); });
  };

  /** Draw everything anew. */
  grid.draw = () => {
    for (const card of cards.values()) card.remove();
    cards.clear();
    if (canvas.closest("[hidden]")) return;
    measure();
    canvas.classList.toggle("empty", !filters.shown.length);
    show();
  };

  /** Select a clip or give it up; with `to`, all from where the keyboard is to there. */
  grid.pick = (clip, to = null) => {
    if (to !== null) {
      const [low, high] = [grid.at, to].sort((one, other) => one - other);
      for (let at = low; at <= high; at++) grid.selection.add(filters.shown[at]);
    } else if (!grid.selection.delete(clip)) grid.selection.add(clip);
    mark();
    vidray.drawTools();
  };

  grid.move = (step) => {
    grid.at = Math.min(filters.shown.length - 1, Math.max(0, grid.at + step));
    const box = canvas.getBoundingClientRect();
    const head = document.querySelector(".bar").offsetHeight + document.getElementById("tools").offsetHeight;
    const top = Math.floor(grid.at / columns) * (height + GAP);
    if (box.top + top < head) window.scrollBy(0, box.top + top - head - GAP);
    else if (box.top + top + height > window.innerHeight) window.scrollBy(0, box.top + top + height - window.innerHeight + GAP);
    show();
  };

  const keys = {
    ArrowRight: () => grid.move(1), ArrowLeft: () => grid.move(-1),
    ArrowDown: () => grid.move(columns), ArrowUp: () => grid.move(-columns),
    Home: () => grid.move(-Infinity), End: () => grid.move(Infinity),
    PageDown: () => grid.move(columns * Math.max(1, Math.floor(window.innerHeight / height))),
    PageUp: () => grid.move(-columns * Math.max(1, Math.floor(window.innerHeight / height))),
    Enter: () => { location.hash = `#/clip/${vidray.clips.of(filters.shown[grid.at]).id}`; },
    " ": () => grid.pick(filters.shown[grid.at]),
    x: () => grid.pick(filters.shown[grid.at]),
  };

  /** What the keyboard does in the grid; whether the key means anything. */
  grid.key = (event) => {
    const run = keys[event.key];
    if (!run || !filters.shown.length || event.ctrlKey || event.metaKey || event.altKey) return false;
    run();
    return true;
  };

  grid.start = () => {
    canvas = document.getElementById("grid");
    window.addEventListener("scroll", soon, { passive: true });
    new ResizeObserver(() => grid.draw()).observe(canvas.parentElement);
  };
})();
