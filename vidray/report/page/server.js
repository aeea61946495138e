"use strict";
/* What takes a process, where `vidray browse` serves the page: search, originals, labels put by keys. */
(() => {
  const { draw, filters, grid, view } = vidray;
  const { element } = draw;

  const ask = async (path, options = {}) => {
    const answer = await fetch(path, { credentials: "same-origin", ...options });
    const told = await answer.json().catch(() => ({ error: `${answer.status} ${answer.statusText}` }));
    if (told.error) throw new Error(told.error);
    return told;
  };
  const order = (path, body) => ask(path, { method: "POST", body: JSON.stringify(body) });
  const trying = (run) => async (...given) => {
    try { return await run(...given); } catch (error) { draw.note(error.message); return null; }
  };

  let numbers = null;
  const numberOf = async (id) => {
    await vidray.whole;
    if (!numbers) {
      numbers = new Map();
      for (let at = 0; at < vidray.clips.count; at++) numbers.set(vidray.clips.of(at).id, at);
    }
    return numbers.get(id);
  };

  /** Show hits; `command` is the line that finds those that are not among the clips of this page too. */
  const show = async (found, title, command = null) => {
    const clips = [], scores = new Map();
    let unseen = 0;
    for (const hit of found.hits) {
      const number = await numberOf(hit.clip);
      if (number === undefined) { unseen++; continue; }
      if (!scores.has(number)) clips.push(number);
      if (!scores.has(number)) scores.set(number, `${draw.number(Number(hit.score.toPrecision(3)))} ${hit.text ?? ""}`);
    }
    const rest = unseen ? `${draw.count(unseen)} more outside this sample` : "";
    filters.found = { clips, title: [title, rest].filter(Boolean).join("; "), scores, command: unseen ? command : null };
    location.hash = "#/clips";
    await filters.apply();
    draw.note(found.notes?.[0] ?? [`${draw.count(clips.length)} clips by ${found.by}`, rest].filter(Boolean).join("; "));
  };

  const byText = trying(async (text) => show(await ask(`api/search?text=${encodeURIComponent(text)}`), `“${text}”`,
    `vidray search ${vidray.shell(vidray.manifest.store)} --text ${vidray.shell(text)}`));
  const byFile = trying(async (file) => {
    const kind = file.type.startsWith("audio/") ? "audio" : "image";
    await show(await ask(`api/search?kind=${kind}`, { method: "POST", body: file }), file.name || `the ${kind}`,
      `vidray search ${vidray.shell(vidray.manifest.store)} --${kind} ${vidray.shell(file.name || "FILE")}`);
  });

  const kept = (name, otherwise) => {
    try { return JSON.parse(localStorage.getItem(`vidray-${name}`)) ?? otherwise; } catch { return otherwise; }
  };
  const keep = (name, value) => { try { localStorage.setItem(`vidray-${name}`, JSON.stringify(value)); } catch { /* not kept then */ } };

  let set = kept("set", "mine"), labels = kept("labels", []), heads = [], text = "";
  const put = new Map();

  const label = trying(async (clip, name) => {
    put.set(clip.number, name);
    draw.note(`${name}: ${clip.name} ${draw.time(clip.start)}`);
    try { await order("api/label", { name: set, clips: { [clip.id]: [name] } }); } catch (error) { put.delete(clip.number); throw error; }
    document.documentElement.dataset.labeled = clip.number;
  });

  const undo = trying(async () => {
    await order("api/undo", { name: set });
    put.clear();
    draw.note(`The last labels of ${set} are taken back`);
  });

  const searchBox = () => {
    const box = element("input", { type: "search", placeholder: "Search: a dog, or drop an image", "aria-label": "Search", value: text,
      oninput: () => { text = box.value; },
      onkeydown: (event) => { if (event.key === "Enter" && box.value.trim()) byText(box.value.trim()); } });
    const file = element("input", { type: "file", accept: "image/*,audio/*", hidden: true, onchange: () => { if (file.files[0]) byFile(file.files[0]); } });
    return element("div", { class: "together search" }, box, file,
      draw.button("Search", () => { if (box.value.trim()) byText(box.value.trim()); }),
      draw.button("Image or sound…", () => file.click(), { class: "quiet" }));
  };

  const labelBar = () => {
    const name = element("input", { type: "text", "aria-label": "Name of the labels", value: set, size: 8,
      onchange: () => { set = name.value.trim() || "mine"; keep("set", set); put.clear(); } });
    const add = element("input", { type: "text", placeholder: "new label", "aria-label": "New label", size: 10,
      onkeydown: (event) => {
        if (event.key !== "Enter" || !add.value.trim()) return;
        labels = [...new Set([...labels, add.value.trim()])].slice(0, 9);
        keep("labels", labels);
        vidray.drawTools();
      } });
    const next = heads.length > 0 && element("select", { "aria-label": "Suggest by a head",
      onchange: trying(async () => { if (next.value) await show(await ask(`api/suggest?head=${encodeURIComponent(next.value)}`), `to label next, by ${next.value}`); }) },
    element("option", { value: "", text: "What to label next…" }), heads.map((head) => element("option", { value: head, text: head })));
    return element("div", { class: "together labels" }, element("span", { class: "hint", text: "Keys label as" }), name,
      labels.map((one, at) => element("span", { class: "chip" }, `${at + 1} ${one} `,
        draw.button("×", () => { labels = labels.filter((other) => other !== one); keep("labels", labels); vidray.drawTools(); },
          { class: "drop", "aria-label": `No key for ${one}` }))),
      add, next);
  };

  let player = null;
  const play = (clip, stage) => {
    if (player) return;
    player = element("video", { src: `media/${clip.id}#t=${clip.start},${clip.end}`, controls: true, autoplay: true, playsinline: true });
    player.addEventListener("error", () => {
      player?.remove();
      player = null;
      draw.note("This browser cannot play the original: here is its storyboard");
    });
    player.addEventListener("timeupdate", () => { if (player && player.currentTime > clip.end && !player.paused && player.currentTime < clip.end + 1) player.pause(); });
    stage.append(player);
  };

  /** Connect with the server; what is here is not there on a page from disk. */
  vidray.connect = async () => {
    heads = (await ask("api/heads")).heads;
    vidray.server = {
      tools: () => element("div", { class: "together served" }, searchBox(), labelBar()),
      key: (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return false;
        if (event.key === "u") { undo(); return true; }
        const name = labels[Number(event.key) - 1];
        const clip = view.clip ?? (document.getElementById("gallery").hidden ? null : vidray.clips.of(filters.shown[grid.at]));
        if (!/^[1-9]$/.test(event.key) || !name || !clip) return false;
        label(clip, name);
        if (view.clip) view.key({ key: "n" }); else grid.move(1);
        return true;
      },
      opened: (clip, look, stage) => {
        player = null;
        look.append(element("p", { class: "together" }, draw.button("Play the original", () => play(clip, stage)),
          put.has(clip.number) && element("span", { class: "chip", text: put.get(clip.number) })));
      },
      seek: (time) => { if (player) player.currentTime = time; },
      closed: () => { player?.pause(); player?.remove(); player = null; },
      /** Every clip of the video in the group is kept, also those that are not among the members shown. */
      keeper: (made, table, group, member) => {
        made.dataset.video = member.video;
        made.append(draw.button("Keep this one", trying(async () => {
          const { labeled } = await order("api/keep", { name: table.name, group: group.id, video: member.video });
          for (const one of made.parentElement.children) one.classList.toggle("kept", one.dataset.video === member.video);
          draw.note(`${draw.count(labeled)} clips labeled in labels/duplicates`);
        }), { class: "quiet" }));
      },
    };
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files[0]) byFile(event.dataTransfer.files[0]);
    });
    document.addEventListener("paste", (event) => { if (event.clipboardData.files[0]) byFile(event.clipboardData.files[0]); });
  };
})();
