"use strict";
/* The corpus at a glance, what was done and what failed. */
(() => {
  const { draw, filters } = vidray;
  const { element, bars, histogram, scale, count, number } = draw;

  const card = (title, ...inside) => element("section", { class: "card" }, element("h2", { text: title }), ...inside);
  const wide = (title, ...inside) => {
    const made = card(title, ...inside);
    made.classList.add("wide");
    return made;
  };
  const figure = (value, name) => element("div", { class: "figure" },
    element("b", { text: value }), element("span", { text: name }));
  const table = (heads, rows) => element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, heads.map((head) => element("th", { text: head })))),
    element("tbody", {}, rows.map((row) => element("tr", {}, row.map((cell) =>
      element("td", {}, cell instanceof Node ? cell : document.createTextNode(cell ?? "")))))))); 

  /** How long some seconds are, in the largest unit that there is one of. */
  const lasting = (seconds) => {
    const [size, unit] = [[3600, "hours"], [60, "minutes"], [1, "seconds"]].find(([least]) => seconds >= least || least === 1);
    return [number(Number((seconds / size).toPrecision(3))), unit];
  };

  const choose = async (column, name) => {
    if (!filters.chosen.get(column)?.names?.has(name)) await filters.toggle(column, name);
    location.hash = "#/clips";
  };

  const figures = ({ corpus, tables, troubles }) => {
    const failed = troubles.failed.reduce((sum, kind) => sum + kind.count, 0);
    return element("div", { class: "figures" },
      figure(...lasting(corpus.hours * 3600)),
      figure(count(corpus.videos), corpus.videos === 1 ? "video" : "videos"),
      figure(count(corpus.clips), corpus.clips === 1 ? "clip" : "clips"),
      figure(draw.size(corpus.bytes), "of files"),
      figure(count(tables.length), tables.length === 1 ? "table of features" : "tables of features"),
      figure(count(failed), "failed"));
  };

  const corpusCards = ({ corpus }) => [
    card("Durations", histogram(corpus.durations), scale(corpus.durations, " s")),
    card("Resolutions", bars(corpus.resolutions, { most: 8 })),
    card("Frame rates", bars(corpus.frame_rates, { most: 8 })),
    card("Codecs", element("h3", { text: "Video" }), bars(corpus.codecs, { most: 5 }),
      element("h3", { text: "Audio" }), bars(corpus.audio, { most: 5 })),
  ];

  const done = ({ tables, runs, corpus }) => {
    if (!tables.length) return [wide("Done", element("p", { text: "No features yet: vidray extract CORPUS STORE -x NAME" }))];
    const rows = tables.map((one) => {
      const share = element("span", { class: "meter" }, element("span", { class: "ok" }), element("span", { class: "bad" }));
      share.children[0].style.width = `${100 * one.done / Math.max(1, corpus.clips)}%`;
      share.children[1].style.width = `${100 * one.failed / Math.max(1, corpus.clips)}%`;
      return [one.name, share, count(one.done), count(one.failed), count(one.missing)];
    });
    const ran = runs.map((run) => [
      (run.at || run.id).slice(0, 16).replace("T", " "), run.tables.join(", ") || run.what,
      run.done === null ? "" : count(run.done), run.failed ? count(run.failed) : "",
      run.wall_s === null ? "" : `${number(run.wall_s)} s`,
      run.x_realtime ? `${number(run.x_realtime)} ×` : "", run.error || ""]);
    return [
      wide("Features", table(["table", "", "done", "failed", "missing"], rows)),
      wide("Runs", table(["started (UTC)", "tables", "done", "failed", "took", "real time", "ended early"], ran)),
    ];
  };

  const trouble = ({ troubles }) => {
    const place = (kind) => kind.start_s === null ? kind.uri
      : `${kind.uri} ${draw.time(kind.start_s)}–${draw.time(kind.end_s)}`;
    const rows = (kinds) => kinds.map((kind) =>
      [kind.table || "videos", kind.stage === kind.kind ? kind.kind : `${kind.stage} ${kind.kind}`, count(kind.count), kind.message, place(kind)]);
    const heads = ["table", "kind", "count", "the first", "file"];
    return [
      troubles.failed.length > 0 && wide("Failed", table(heads, rows(troubles.failed)),
        troubles.again && element("p", { class: "hint", text: "Try again:" }), troubles.again && draw.code(troubles.again)),
      troubles.warned.length > 0 && wide("Decode warnings", table(heads, rows(troubles.warned))),
    ];
  };

  const labels = ({ columns }) => columns.flatMap((column, at) => {
    if (column.kind !== "labels") return [];
    const rows = column.names.slice(0, 12).map((name, place) => [name, column.weights[place]]);
    return [card(filters.title(column),
      element("p", { class: "hint", text: `${count(column.names_total)} labels; clips, each by its score` }),
      bars(rows, { run: (name) => choose(at, name) }),
      element("h3", { text: "Scores" }), histogram(column.scores, { height: 40 }), scale(column.scores))];
  });

  const qualities = ({ columns }) => columns.flatMap((column, at) => {
    if (column.kind !== "number" || !/^(video_)?features\//.test(column.table) || column.low === column.high) return [];
    const few = (name, clips) => element("div", { class: "ends" }, element("span", { text: name }),
      clips.slice(0, 3).map((clip) => draw.poster(clip)));
    const title = element("h2", {}, draw.button(filters.title(column), () => {
      filters.order = { by: at, down: true };
      filters.apply();
      location.hash = "#/clips";
    }, { class: "quiet link", title: "Sort the clips by it" }));
    return [element("section", { class: "card" }, title, histogram(column), scale(column),
      few("least", column.extremes.least), few("most", column.extremes.most))];
  });

  const words = ({ words: told }) => told.map((one) => card(one.table,
    one.minutes !== undefined && element("p", { class: "hint", text: `${lasting(one.minutes * 60).join(" ")} of speech` }),
    one.clips !== undefined && element("p", { class: "hint", text: `${count(one.clips)} clips with words` }),
    one.terms && bars(one.terms, { most: 12 }),
    one.languages?.length > 0 && element("h3", { text: "Languages" }),
    one.languages?.length > 0 && bars(one.languages, { most: 6 })));

  const duplicates = ({ duplicates: told }) => told.map((one) => wide(`Near duplicates: ${one.name}`,
    element("p", { class: "hint", text: `${count(one.groups)} groups of ${count(one.clips)} clips; the largest:` }),
    one.largest.slice(0, 20).map((group) => element("div", { class: "duplicates" },
      group.members.map((member) => {
        const made = member.clip === null || member.clip === undefined
          ? element("span", { class: "poster blank", text: member.uri }) : draw.poster(member.clip);
        const kept = element("div", { class: member.keep ? "member kept" : "member" }, made,
          element("span", { class: "hint", text: member.keep ? "keep" : number(member.score) }));
        if (vidray.server) vidray.server.keeper(kept, one, group, member);
        return kept;
      }),
      group.of > group.members.length && element("span", { class: "hint", text: `${count(group.of - group.members.length)} more` })))));

  const part = (title, cards) => {
    const there = cards.flat().filter(Boolean);
    return there.length ? [element("h1", { text: title }), element("div", { class: "cards" }, there)] : [];
  };

  vidray.drawOverview = () => {
    const told = vidray.manifest;
    document.getElementById("overview").replaceChildren(...[
      element("p", { class: "made" }, `Made ${told.made_at.slice(0, 16).replace("T", " ")} UTC by vidray ${told.vidray}`,
        told.corpus.corpora.length > 0 && ` of ${told.corpus.corpora.join(", ")}`),
      told.clips < told.corpus.clips && element("p", { class: "banner", text:
        `${count(told.clips)} of ${count(told.corpus.clips)} clips are shown: a sample, each video by its share. `
        + "Counts of videos, runs and failures are of all; labels, distributions and words are of the sample." }),
      figures(told),
      ...part("Corpus", corpusCards(told)),
      ...part("What was done", done(told)),
      ...part("What went wrong", trouble(told)),
      ...part("Labels", labels(told)),
      ...part("Numbers", qualities(told)),
      ...part("Words", words(told)),
      ...part("Duplicates", duplicates(told)),
    ].filter(Boolean));
  };
})();
