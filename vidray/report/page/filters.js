"use strict";
/* What is shown and in which order: ranges of numbers, categories and labels, and the SQL that says the same. */
(() => {
  const quoted = (text) => `'${text.replaceAll("'", "''")}'`;

  const filters = vidray.filters = {
    /** By the number of a column: {low, high}, or {names: Set}. */
    chosen: new Map(),
    name: "",
    order: { by: "plan", down: false },
    /** Numbers of clips, best first, where something was searched for or is alike: {clips, title}. */
    found: null,
    shown: new Uint32Array(0),
  };

  /** A number as both SQL and the page read it. */
  const literal = (value) => String(value);

  const said = (column, chosen) => {
    if (!column.where) return null;
    if (chosen.names) {
      const names = [...chosen.names];
      if (column.kind === "category") {
        return names.length === 1 ? `${column.where} = ${quoted(names[0])}`
          : `${column.where} IN (${names.map(quoted).join(", ")})`;
      }
      const each = names.map((name) => `list_contains(${column.where}, ${quoted(name)})`);
      return each.length === 1 ? each[0] : `(${each.join(" OR ")})`;
    }
    return `${column.where} BETWEEN ${literal(chosen.low)} AND ${literal(chosen.high)}`;
  };

  /** The expression for `--where` that keeps the same clips; empty where nothing is chosen. */
  filters.where = () => {
    const parts = [];
    for (const [number, chosen] of filters.chosen) {
      const part = said(vidray.manifest.columns[number], chosen);
      if (part) parts.push(part);
    }
    if (filters.name) parts.push(`contains(lower(uri), ${quoted(filters.name.toLowerCase())})`);
    return parts.join(" AND ");
  };

  const keepNumbers = (keep, values, { low, high }) => {
    // a float32 is compared with the float32 of the bound, as SQL does it
    const [from, to] = values instanceof Float32Array ? [Math.fround(low), Math.fround(high)] : [low, high];
    for (let at = 0; at < keep.length; at++) if (!(values[at] >= from && values[at] <= to)) keep[at] = 0;
  };

  const keepCategories = (keep, codes, wanted) => {
    for (let at = 0; at < keep.length; at++) if (!wanted.has(codes[at])) keep[at] = 0;
  };

  const keepLabels = (keep, { clips, codes }, wanted) => {
    const has = new Uint8Array(keep.length);
    for (let at = 0; at < clips.length; at++) if (wanted.has(codes[at])) has[clips[at]] = 1;
    for (let at = 0; at < keep.length; at++) keep[at] &= has[at];
  };

  /** The numbers of names in a column's dictionary. */
  const codesOf = async (number, column, names) => {
    const all = column.kind === "labels" && column.names_total > column.names.length
      ? await vidray.load(`names/${number}`) : column.names;
    return new Set([...names].map((name) => all.indexOf(name)));
  };

  const keepName = (keep, text) => {
    const wanted = text.toLowerCase();
    const { folders, names } = vidray.videos;
    const has = names.map(([folder, name]) => (folders[folder] + name).toLowerCase().includes(wanted));
    for (let at = 0; at < keep.length; at++) {
      const clip = keep[at] && vidray.clips.of(at);
      if (clip && !has[clip.video]) keep[at] = 0;
    }
  };

  const order = async (numbers) => {
    const { by, down } = filters.order;
    if (by === "plan") return down ? numbers.reverse() : numbers;
    const values = await vidray.column(by);
    const column = vidray.manifest.columns[by];
    let key = values;
    if (column.kind === "labels") {
      key = new Float32Array(vidray.clips.count).fill(NaN);
      for (let at = 0; at < values.clips.length; at++) {
        const clip = values.clips[at];
        if (!(key[clip] >= values.scores[at])) key[clip] = values.scores[at];
      }
    }
    const sign = down ? -1 : 1;
    // clips without a value come last either way
    const worth = (clip) => (Number.isNaN(key[clip]) ? Infinity : sign * key[clip]);
    return numbers.sort((one, other) => {
      const [a, b] = [worth(one), worth(other)];
      return a === b ? one - other : a < b ? -1 : 1;
    });
  };

  let asked = 0;
  /** Work out what is shown; `filters.changed` is called when that is done. */
  filters.apply = async () => {
    const mine = ++asked;
    const keep = new Uint8Array(vidray.clips.count).fill(1);
    if (filters.name) await vidray.whole;
    for (const [number, chosen] of filters.chosen) {
      const values = await vidray.column(number);
      const column = vidray.manifest.columns[number];
      if (!chosen.names) keepNumbers(keep, values, chosen);
      else if (column.kind === "category") keepCategories(keep, values, await codesOf(number, column, chosen.names));
      else keepLabels(keep, values, await codesOf(number, column, chosen.names));
    }
    if (filters.name) keepName(keep, filters.name);
    let shown;
    if (filters.found) {
      shown = Uint32Array.from(filters.found.clips.filter((clip) => keep[clip]));
    } else {
      let count = 0;
      shown = new Uint32Array(keep.length);
      for (let at = 0; at < keep.length; at++) if (keep[at]) shown[count++] = at;
      shown = await order(shown.slice(0, count));
    }
    if (mine !== asked) return;
    filters.shown = shown;
    filters.changed();
  };

  filters.set = (number, chosen) => {
    if (chosen === null || (chosen.names && !chosen.names.size)) filters.chosen.delete(number);
    else filters.chosen.set(number, chosen);
    return filters.apply();
  };

  /** Choose a name of a category or label, or give it up. */
  filters.toggle = (number, name) => {
    const names = new Set(filters.chosen.get(number)?.names);
    if (!names.delete(name)) names.add(name);
    return filters.set(number, { names });
  };

  filters.clear = () => {
    filters.chosen.clear();
    filters.name = "";
    filters.found = null;
    return filters.apply();
  };

  /** Show these clips, best first. */
  filters.show = (clips, title) => {
    filters.found = { clips, title };
    return filters.apply();
  };

  /** A column as a person names it. */
  filters.title = (column) => {
    const table = column.table.replace(/^(features|labels|video_features)\//, "");
    if (column.table.startsWith("labels/")) return table;
    if (column.kind === "labels") return column.name === "labels" ? table : `${table} ${column.name}`;
    const alone = vidray.manifest.columns.filter((one) => one.name === column.name).length === 1;
    return alone || ["clips", "videos"].includes(column.table) ? column.name : `${table} ${column.name}`;
  };
})();
