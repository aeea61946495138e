"use strict";
/* What is where on the page: the tabs, the tools above the grid, the keyboard. */
(() => {
  const { draw, filters, grid, view } = vidray;
  const { element } = draw;
  const CLIP = "#/clip/";

  /** A text as a shell takes it. */
  vidray.shell = (text) => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

  const csv = (text) => /[",\r\n]/.test(text) || /^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

  /** The selection as the CSV that `import` and `train` take. */
  vidray.selectionCsv = (label) => {
    const lines = [...grid.selection].sort((one, other) => one - other).map((number) => {
      const clip = vidray.clips.of(number);
      return [clip.id, clip.uri, clip.start, clip.end, label].map((value) => csv(String(value))).join(",");
    });
    return ["clip_id,uri,start_s,end_s,label", ...lines, ""].join("\n");
  };

  const download = (name, text) => {
    const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  const sorter = () => {
    const { order } = filters;
    const pick = element("select", { "aria-label": "Sort by", onchange: () => {
      filters.order = { by: pick.value === "plan" ? "plan" : Number(pick.value), down: pick.value !== "plan" };
      filters.found = null;
      filters.apply();
    } }, element("option", { value: "plan", text: "order of the videos" }),
    vidray.manifest.columns.map((column, at) => element("option", { value: at, text: filters.title(column) + (column.kind === "labels" ? " (best score)" : "") })));
    pick.value = String(order.by);
    return element("span", { class: "together" }, element("span", { class: "hint", text: "Sort" }), pick,
      draw.button(order.down ? "↓" : "↑", () => {
        filters.order = { ...order, down: !order.down };
        filters.apply();
      }, { class: "quiet", "aria-label": order.down ? "Most first" : "Least first" }));
  };

  let label = "";
  const selection = () => {
    if (!grid.selection.size) return null;
    const name = element("input", { type: "text", placeholder: "label", "aria-label": "Label of the selection", value: label,
      oninput: () => { label = name.value; } });
    return element("div", { class: "together selection" },
      element("b", { text: `${draw.count(grid.selection.size)} selected` }), name,
      draw.button("Download CSV", () => {
        if (!label.trim()) { name.focus(); draw.note("Give the label that the selected clips are to have"); return; }
        download("labels.csv", vidray.selectionCsv(label.trim()));
      }),
      draw.button("All shown", () => { for (const clip of filters.shown) grid.selection.add(clip); grid.draw(); vidray.drawTools(); }, { class: "quiet" }),
      draw.button("None", () => { grid.selection.clear(); grid.draw(); vidray.drawTools(); }, { class: "quiet" }));
  };

  vidray.drawTools = () => {
    const where = filters.where();
    const shown = filters.shown.length, all = vidray.clips.count;
    const tools = document.getElementById("tools");
    const kept = tools.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    tools.replaceChildren(...[
      element("div", { class: "together first" },
        draw.button("Filters", () => document.body.classList.toggle("filtering"), { class: "quiet only-narrow" }),
        element("b", { class: "count", text: shown === all ? `${draw.count(all)} clips` : `${draw.count(shown)} of ${draw.count(all)} clips` }),
        sorter()),
      filters.found && element("div", { class: "together" }, element("span", { class: "chip", text: filters.found.title }),
        filters.found.command && draw.code(filters.found.command),
        draw.button("Show all", () => { filters.found = null; filters.apply(); }, { class: "quiet" })),
      where && element("div", { class: "where" }, draw.code(`--where ${vidray.shell(where)}`)),
      selection(),
      vidray.server?.tools(),
    ].filter(Boolean));
    if (!kept) return;
    const again = [...tools.querySelectorAll("[aria-label]")].find((one) => one.getAttribute("aria-label") === kept);
    again?.focus();
    if (again?.matches("input")) again.setSelectionRange(again.value.length, again.value.length);
  };

  let title = "", back = "#/clips";
  const route = async () => {
    const hash = location.hash || "#/overview";
    if (hash.startsWith(CLIP)) {
      if (!title) swap(back);
      let number = vidray.clips.find(decodeURIComponent(hash.slice(CLIP.length)));
      if (number < 0) {
        await vidray.whole;
        number = vidray.clips.find(decodeURIComponent(hash.slice(CLIP.length)));
      }
      if (number < 0) { draw.note("No such clip in this report"); location.replace("#/clips"); } else view.open(number);
      return;
    }
    view.close();
    swap(hash);
  };

  const swap = (hash) => {
    back = hash === "#/clips" ? hash : "#/overview";
    title = back;
    document.getElementById("overview").hidden = back === "#/clips";
    document.getElementById("gallery").hidden = back !== "#/clips";
    for (const tab of document.querySelectorAll("#tabs a")) {
      tab.toggleAttribute("aria-current", tab.getAttribute("href") === back);
    }
    if (back === "#/clips") grid.draw();
  };

  vidray.closeClip = () => { if (location.hash.startsWith(CLIP)) location.replace(back); };

  const help = () => {
    const rows = [["o, c", "overview, clips"], ["/", "find a file, or search"], ["arrows, Page Up, Page Down", "move in the grid"],
      ["Enter", "open a clip"], ["Space, x", "select a clip"], ["← →", "in a clip: the tile before, the next"],
      ["n, p", "in a clip: the next clip, the one before"], ["Esc", "close"], ["t", "dark or light"],
      ...(vidray.server ? [["1 to 9", "put a label on a clip"], ["u", "take the last label back"]] : [])];
    const keys = document.getElementById("keys");
    keys.replaceChildren(element("h2", { text: "Keys" }),
      element("dl", {}, rows.flatMap(([key, what]) => [element("dt", { text: key }), element("dd", { text: what })])),
      draw.button("Close", () => keys.close()));
    keys.showModal();
  };

  const theme = () => {
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme || (isDark ? "dark" : "light");
    document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
    try { localStorage.setItem("vidray-theme", document.documentElement.dataset.theme); } catch { /* not kept then */ }
  };

  const keys = {
    o: () => { location.hash = "#/overview"; }, c: () => { location.hash = "#/clips"; }, t: theme, "?": help,
    "/": () => { location.hash = "#/clips"; setTimeout(() => document.querySelector("#tools input[type=search], #facets input[type=search]")?.focus()); },
  };

  const pressed = (event) => {
    const isTyping = event.target.closest("input:not([type=checkbox]):not([type=range]), select, textarea");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const isButton = event.target.closest("button, a, summary, input") && ["Enter", " "].includes(event.key);
    const run = keys[event.key];
    let done = Boolean(vidray.server?.key(event));
    if (!done && view.clip) done = view.key(event);
    else if (!done && !isButton && !document.getElementById("gallery").hidden) done = grid.key(event);
    if (!done && run && !view.clip) { run(); done = true; }
    if (!done && view.clip && event.key === "t") { theme(); done = true; }
    if (done) event.preventDefault();
  };

  const start = async () => {
    try { document.documentElement.dataset.theme = localStorage.getItem("vidray-theme") || ""; } catch { /* as the system has it */ }
    document.getElementById("theme").addEventListener("click", theme);
    document.getElementById("help").addEventListener("click", help);
    document.addEventListener("keydown", pressed);
    filters.changed = async () => {
      const { by } = filters.order;
      grid.values = by === "plan" ? {} : { [by]: await vidray.column(by) };
      grid.draw();
      vidray.drawTools();
      vidray.showFacets();
    };
    await vidray.open(() => grid.draw());
    document.title = `${vidray.manifest.store.split("/").pop()} · vidray`;
    document.getElementById("store").textContent = vidray.manifest.store;
    document.getElementById("store").title = vidray.manifest.store;
    if (vidray.manifest.served) await vidray.connect();
    vidray.drawOverview();
    vidray.drawFacets();
    grid.start();
    view.start();
    await filters.apply();
    window.addEventListener("hashchange", route);
    await route();
    document.documentElement.dataset.ready = "";
  };

  start().catch((error) => draw.note(error.message));
})();
