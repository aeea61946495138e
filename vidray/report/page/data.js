"use strict";
/* Data beside the page: each shard is a script that hands one JSON text to `vidray.put`. Nothing is fetched, as a page
   that is opened from disk may not. */
const vidray = {};
(() => {
  const waiting = new Map();
  const loaded = new Map();

  vidray.put = (name, text) => {
    const wait = waiting.get(name);
    if (wait) wait.resolve(JSON.parse(text));
  };

  /** The value of a shard, loaded once. */
  vidray.load = (name, folder = "data") => {
    if (!loaded.has(name)) {
      loaded.set(name, new Promise((resolve, reject) => {
        waiting.set(name, { resolve });
        const script = document.createElement("script");
        script.src = `${folder}/${name}.js`;
        script.onload = () => { waiting.delete(name); script.remove(); };
        script.onerror = () => {
          loaded.delete(name);
          script.remove();
          reject(new Error(`${folder}/${name}.js cannot be loaded: is the whole folder there?`));
        };
        document.head.append(script);
      }));
    }
    return loaded.get(name);
  };

  const ARRAYS = {
    f32: Float32Array, f64: Float64Array, i32: Int32Array, u8: Uint8Array, u16: Uint16Array, u32: Uint32Array,
  };

  const bytes = (text) => {
    const raw = atob(text);
    const found = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at++) found[at] = raw.charCodeAt(at);
    return found;
  };

  /** Numbers from base64 of their bytes. */
  vidray.unpack = ({ type, data }) => new ARRAYS[type](bytes(data).buffer);

  const hex = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, "0"));

  const ids = (held) => {
    if (Array.isArray(held)) return (at) => held[at];
    const raw = bytes(held);
    return (at) => {
      let text = "";
      for (let place = at * 16; place < at * 16 + 16; place++) text += hex[raw[place]];
      return text;
    };
  };

  /** The clips of the report, by number: shards of them are loaded as they are needed. */
  vidray.clips = {
    count: 0,
    shards: [],
    of(number) {
      const size = vidray.manifest.core_clips;
      const shard = this.shards[Math.floor(number / size)];
      if (!shard) return null;
      const at = number % size;
      const [folder, name] = vidray.videos.names[shard.videos[at]];
      return {
        number, name, id: shard.ids(at), uri: vidray.videos.folders[folder] + name, video: shard.videos[at],
        start: shard.starts[at], end: shard.ends[at],
        tiles: shard.tiles[at], columns: shard.columns[at], width: shard.widths[at], height: shard.heights[at],
      };
    },
    /** The number of a clip, -1 where it is not in the report. */
    find(id) {
      for (let number = 0; number < this.count; number++) {
        const shard = this.shards[Math.floor(number / vidray.manifest.core_clips)];
        if (shard && shard.ids(number % vidray.manifest.core_clips) === id) return number;
      }
      return -1;
    },
  };

  const readShard = async (at) => {
    const held = await vidray.load(`clips/${at}`);
    vidray.clips.shards[at] = {
      ids: ids(held.ids), videos: vidray.unpack(held.videos),
      starts: vidray.unpack(held.starts), ends: vidray.unpack(held.ends),
      tiles: vidray.unpack(held.tiles), columns: vidray.unpack(held.columns),
      widths: vidray.unpack(held.widths), heights: vidray.unpack(held.heights),
    };
  };

  /** Load what the page begins with, then the clips beyond the first shard; `more` is called as they come. */
  vidray.open = async (more) => {
    const [manifest, videos] = await Promise.all([vidray.load("manifest"), vidray.load("videos")]);
    vidray.manifest = manifest;
    vidray.videos = videos;
    vidray.clips.count = manifest.clips;
    const shards = Math.ceil(manifest.clips / manifest.core_clips);
    if (shards) await readShard(0);
    vidray.whole = (async () => {
      for (let at = 1; at < shards; at++) { await readShard(at); more(); }
    })();
  };

  /** All values of a column: a typed array, or {clips, codes, scores} of labels. */
  vidray.column = async (number) => {
    const held = await vidray.load(`columns/${number}`);
    if (!held.unpacked) {
      held.unpacked = held.type ? vidray.unpack(held) : {
        clips: vidray.unpack(held.clips), codes: vidray.unpack(held.codes), scores: vidray.unpack(held.scores),
      };
    }
    return held.unpacked;
  };

  /** All that the tables say of a clip: {table: {column: value}}. */
  vidray.details = async (number) => {
    const size = vidray.manifest.detail_clips;
    const shard = await vidray.load(`details/${Math.floor(number / size)}`);
    return shard[number % size];
  };

  /** The numbers of the clips most like a clip by one of the indexes, the nearest first. */
  vidray.neighbours = async (alike, number) => {
    const { neighbour_clips: size, neighbours } = vidray.manifest;
    const held = await vidray.load(`neighbours/${alike.number}-${Math.floor(number / size)}`);
    held.unpacked ||= vidray.unpack(held);
    const first = (number % size) * neighbours;
    return Array.from(held.unpacked.subarray(first, first + neighbours)).filter((clip) => clip !== 0xffffffff);
  };

  const MOST_SHARDS = 200;
  const pictures = new Map();

  const picturesOf = (name) => {
    let held = pictures.get(name);
    if (held) {
      // what is used comes last, so that what was not used for longest goes first
      pictures.delete(name);
    } else {
      held = { urls: [], ready: null };
      held.ready = vidray.load(name, "images").then((images) => {
        loaded.delete(name);
        held.urls = images.map((image) => image && URL.createObjectURL(new Blob([bytes(image)], { type: "image/webp" })));
      });
    }
    pictures.set(name, held);
    if (pictures.size > MOST_SHARDS) {
      const [oldest, { urls }] = pictures.entries().next().value;
      for (const url of urls) if (url) URL.revokeObjectURL(url);
      pictures.delete(oldest);
    }
    return held;
  };

  /** Have `use` called with the URL of a clip's poster ("p") or storyboard ("s"): now where it is there, else soon. */
  vidray.image = (number, kind, use) => {
    const size = vidray.manifest.images[kind];
    const held = picturesOf(`${kind}/${Math.floor(number / size)}`);
    const now = held.urls[number % size];
    if (now) use(now);
    else held.ready.then(() => { if (held.urls[number % size]) use(held.urls[number % size]); }, () => {});
  };
})();
