"use strict";
/* The filters beside the grid: a brush over each number, names of categories and labels to choose. */
(() => {
  const { draw, filters } = vidray;
  const SHOWN = 8;

  /** Bounds that are short to read, at most a thousandth of the range outside of what was brushed. */
  const rounded = (value, column, up) => {
    if (Number.isInteger(column.low) && Number.isInteger(column.high) && column.high - column.low > 20) {
      return up ? Math.ceil(value) : Math.floor(value);
    }
    const step = 10 ** Math.floor(Math.log10((column.high - column.low || 1) / 1000));
    const found = (up ? Math.ceil(value / step - 1e-9) : Math.floor(value / step + 1e-9)) * step;
    return Number(found.toPrecision(12));
  };

  const range = (number, column) => {
    const chart = draw.histogram(column, { height: 44 });
    const shade = draw.element("div", { class: "shade" });
    const area = draw.element("div", { class: "brush" }, chart, shade);
    const low = draw.element("input", { type: "number", step: "any", "aria-label": `${column.name} at least` });
    const high = draw.element("input", { type: "number", step: "any", "aria-label": `${column.name} at most` });
    const width = column.high - column.low;

    const show = () => {
      const chosen = filters.chosen.get(number);
      const from = chosen ? chosen.low : column.low, to = chosen ? chosen.high : column.high;
      low.value = chosen ? chosen.low : "";
      high.value = chosen ? chosen.high : "";
      low.placeholder = draw.number(column.low);
      high.placeholder = draw.number(column.high);
      area.classList.toggle("chosen", Boolean(chosen));
      const place = (value) => Math.min(1, Math.max(0, width ? (value - column.low) / width : 0));
      shade.style.left = `${100 * place(from)}%`;
      shade.style.width = `${100 * (place(to) - place(from))}%`;
    };
    const choose = (from, to) => {
      const bounds = [from, to].sort((a, b) => a - b);
      filters.set(number, { low: rounded(bounds[0], column, false), high: rounded(bounds[1], column, true) });
    };
    const typed = () => {
      if (low.value === "" && high.value === "") return void filters.set(number, null);
      filters.set(number, {
        low: low.value === "" ? rounded(column.low, column, false) : Number(low.value),
        high: high.value === "" ? rounded(column.high, column, true) : Number(high.value),
      });
    };
    low.addEventListener("change", typed);
    high.addEventListener("change", typed);

    const valueAt = (event) => {
      const box = area.getBoundingClientRect();
      return column.low + Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * width;
    };
    let began = null;
    area.addEventListener("pointerdown", (event) => {
      began = valueAt(event);
      area.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    area.addEventListener("pointermove", (event) => {
      if (began === null) return;
      const now = valueAt(event);
      shade.style.left = `${100 * (Math.min(began, now) - column.low) / (width || 1)}%`;
      shade.style.width = `${100 * Math.abs(now - began) / (width || 1)}%`;
      area.classList.add("chosen");
    });
    area.addEventListener("pointerup", (event) => {
      if (began === null) return;
      const now = valueAt(event), from = began;
      began = null;
      if (Math.abs(now - from) < width / 100) filters.set(number, null);
      else choose(from, now);
    });
    area.addEventListener("pointercancel", () => { began = null; show(); });
    return { body: draw.element("div", {}, area, draw.element("div", { class: "bounds" }, low, "to", high)), show };
  };

  const names = (number, column) => {
    const search = draw.element("input", { type: "search", placeholder: "Find…", "aria-label": `Find in ${column.name}` });
    const list = draw.element("div", { class: "names" });
    let isOpen = false, all = column.names;
    const show = () => {
      const chosen = filters.chosen.get(number)?.names || new Set();
      const wanted = search.value.toLowerCase();
      const fitting = all.filter((name) => chosen.has(name) || name.toLowerCase().includes(wanted));
      fitting.sort((one, other) => chosen.has(other) - chosen.has(one));
      const some = fitting.slice(0, isOpen || wanted ? 60 : Math.max(SHOWN, chosen.size));
      list.replaceChildren(...some.map((name) => {
        const box = draw.element("input", { type: "checkbox", onchange: () => filters.toggle(number, name) });
        box.checked = chosen.has(name);
        const count = column.counts[column.names.indexOf(name)];
        return draw.element("label", {}, box, draw.element("span", { class: "name", text: name, title: name }),
          draw.element("span", { class: "value", text: count === undefined ? "" : draw.count(count) }));
      }));
      if (fitting.length > some.length) {
        const more = `${draw.count(fitting.length - some.length)} more`;
        list.append(draw.button(more, () => { isOpen = true; show(); }, { class: "quiet" }));
      }
    };
    search.addEventListener("input", async () => {
      if (column.kind === "labels" && column.names_total > all.length) all = await vidray.load(`names/${number}`);
      show();
    });
    const hasMany = (column.names_total || column.names.length) > SHOWN;
    return { body: draw.element("div", {}, hasMany && search, list), show };
  };

  const group = (column) => {
    if (column.table === "clips" || column.table === "videos") return "Clips and videos";
    if (column.kind === "labels") return "Labels";
    return column.table.replace(/^(features|video_features)\//, "");
  };

  /** Draw all facets; the names of what there is come first, brushes when their group is opened. */
  vidray.drawFacets = () => {
    const aside = document.getElementById("facets");
    const shows = [];
    const find = draw.element("input", { type: "search", placeholder: "File name", "aria-label": "File name contains" });
    find.addEventListener("input", () => { filters.name = find.value; filters.apply(); });
    const groups = new Map();
    vidray.manifest.columns.forEach((column, number) => {
      // what is the same for all tells none apart
      if (column.kind === "number" && column.low === column.high) return;
      const made = column.kind === "number" ? range(number, column) : names(number, column);
      shows.push(made.show);
      const title = draw.element("div", { class: "title" }, draw.element("h3", { text: filters.title(column) }),
        draw.button("Clear", () => filters.set(number, null), { class: "quiet clear" }));
      const facet = draw.element("div", { class: "facet", "data-column": number }, title, made.body);
      shows.push(() => facet.classList.toggle("active", filters.chosen.has(number)));
      const name = group(column);
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(facet);
    });
    const rank = (name) => ["Labels", "Clips and videos"].indexOf(name);
    const sorted = [...groups].sort(([one], [other]) => rank(other) - rank(one));
    sorted.sort(([one], [other]) => (other === "Labels") - (one === "Labels"));
    aside.replaceChildren(
      draw.element("div", { class: "facets-head" }, find,
        draw.button("Clear all", () => { find.value = ""; filters.clear(); }, { class: "quiet" })),
      ...sorted.map(([name, facets], at) => {
        const held = draw.element("details", { class: "group" }, draw.element("summary", { text: name }), facets);
        held.open = at < 3;
        return held;
      }));
    vidray.showFacets = () => { for (const show of shows) show(); };
    vidray.showFacets();
  };
})();
