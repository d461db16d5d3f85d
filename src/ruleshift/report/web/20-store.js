// Where episodes come from: chunks in the page, unpacked when one of them is asked for, or the server of the page.
class Store {
  constructor(index, chunks, maps, shows) {
    Object.assign(this, { chunks, maps, shows });
    this.read = new Map();
    this.take(index);
  }

  take(index) {
    this.count = index.count;
    this.columns = index.columns;
    this.names = index.names;
    this.byProblem = new Map();
    for (let i = 0; i < this.count; i += 1) {
      const problem = this.columns.problem[i];
      if (!this.byProblem.has(problem)) this.byProblem.set(problem, []);
      this.byProblem.get(problem).push(i);
    }
  }

  at(name, i) {
    const value = this.columns[name][i];
    return this.names[name] ? this.names[name][value] : value;
  }

  valuesOf(name) {
    return this.names[name] ? this.names[name] : [...new Set(this.columns[name])].sort((a, b) => a - b);
  }

  // All that is known of an episode, once it is there.
  async episode(i) {
    if (this.chunks.length) return (await this.unpack(this.chunks[Math.floor(i / 64)]))[i % 64];
    return this.once(`episode-${i}`, () => this.ask(`episode/${i}`));
  }

  // Its pictures and its map; null where they are not here.
  async scene(i) {
    if (!this.shows) return null;
    const chunk = this.maps[Math.floor(i / 64)];
    if (this.chunks.length) return chunk ? ((await this.unpack(chunk))[i % 64] ?? null) : null;
    return this.once(`scene-${i}`, () => this.ask(`scene/${i}`).catch(() => null));
  }

  once(key, make) {
    if (!this.read.has(key)) this.read.set(key, make());
    return this.read.get(key);
  }

  async ask(path) {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  unpack(chunk) {
    return this.once(chunk, async () => {
      const bytes = Uint8Array.from(atob(chunk.textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      return new Response(stream).json();
    });
  }

  // The numbers of the episodes in which a text stands.
  async search(text) {
    if (!this.chunks.length) return new Set(await this.ask(`search?q=${encodeURIComponent(text)}`));
    const wanted = text.toLowerCase();
    const found = new Set();
    for (let i = 0; i < this.count; i += 1) {
      const episode = await this.episode(i);
      if (episode.messages.some((message) => message.text.toLowerCase().includes(wanted))) found.add(i);
    }
    return found;
  }
}
