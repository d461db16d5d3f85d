// The viewer: a list of episodes, one of them open, others about the same problem beside it.
class Viewer {
  constructor(root, store) {
    this.root = root;
    this.store = store;
    this.presets = presetsOf(store, root.dataset.trained);
    this.state = { sort: "problem", colour: "plain", ...stateOf(location.hash) };
    this.part = (name) => one(name, root);
    this.shown = 200;
    this.drawFilters();
    this.drawToolbar();
    this.listen();
    this.refresh();
  }

  listen() {
    addEventListener("hashchange", () => {
      if (location.hash === hashOf(this.state) || !location.hash.includes("=")) return;
      this.state = { sort: "problem", colour: "plain", ...stateOf(location.hash) };
      this.drawFilters();
      this.refresh();
    });
    document.addEventListener("keydown", (event) => this.key(event));
    this.part(".list").addEventListener("click", (event) => {
      const item = event.target.closest("li");
      if (item && item.dataset.number) this.open(Number(item.dataset.number));
      else if (item) { this.shown += 400; this.drawList(); }
    });
  }

  // What is chosen goes into the address without a new entry in the history.
  remember() {
    history.replaceState(null, "", hashOf(this.state));
  }

  drawFilters() {
    const form = this.part(".filters");
    form.onsubmit = (event) => event.preventDefault();
    const choice = (name, label, values) => {
      const options = values.map(([value, text]) => make("option", { value, textContent: text, selected: String(this.state[name] ?? "") === value }));
      const select = make("select", { name }, ...options);
      select.addEventListener("change", () => { this.state[name] = select.value; this.refresh(); });
      return make("label", {}, make("span", {}, label), select);
    };
    const fields = FIELDS.filter((name) => this.store.valuesOf(name).length > 1).map((name) =>
      choice(name, name, [["", "all"], ...this.store.valuesOf(name).map((value) => [String(value), String(value).replaceAll("_", " ")])]));
    const turns = [...new Set(this.store.columns.solved_at)].sort((a, b) => a - b).filter((n) => n > 0);
    const search = make("input", { type: "search", name: "q", value: this.state.q ?? "", placeholder: "in all messages" });
    search.addEventListener("change", () => { this.state.q = search.value; this.refresh(); });
    form.replaceChildren(
      ...fields,
      choice("turns", "solved", [["", "all"], ["unsolved", "never"], ...turns.map((n) => [String(n), `at reply ${n}`])]),
      choice("stop", "stop", [["", "all"], ["stop", "ended"], ["length", "cut off"]]),
      choice("sort", "sort by", Object.keys(ORDERS).map((name) => [name, name])),
      make("label", {}, make("span", {}, "search"), search),
    );
    const buttons = Object.keys(this.presets).map((name) => {
      const button = make("button", { type: "button", textContent: name });
      button.setAttribute("aria-pressed", String((this.state.preset || "everything") === name));
      button.addEventListener("click", () => { this.state.preset = name === "everything" ? "" : name; this.drawFilters(); this.refresh(); });
      return button;
    });
    this.part(".presets").replaceChildren(...buttons);
  }

  drawToolbar() {
    const button = (text, act, title) => {
      const made = make("button", { type: "button", textContent: text, title });
      made.addEventListener("click", act);
      return made;
    };
    const colour = make("select", { ariaLabel: "Colour of tokens" }, ...COLOURS.map((name) => make("option", { value: name, textContent: `tokens: ${name}` })));
    colour.value = this.state.colour;
    colour.addEventListener("change", () => { this.state.colour = colour.value; this.drawPanels(); });
    this.colour = colour;
    this.part(".toolbar").replaceChildren(
      button("\u2191 previous", () => this.move(-1), "k"), button("\u2193 next", () => this.move(1), "j"), colour,
      button("side by side", () => this.compare(), "s"), button("one alone", () => this.alone(), "Esc"),
      button("copy text", () => this.copy(false)), button("copy JSON", () => this.copy(true)), button("copy link", () => this.copyLink()),
    );
  }

  async refresh() {
    const turn = (this.turnOfWork = (this.turnOfWork ?? 0) + 1);
    const found = this.state.q ? await this.store.search(this.state.q) : null;
    if (turn !== this.turnOfWork) return;
    this.numbers = listed(this.store, this.state, this.presets, found);
    this.shown = 200;
    this.part(".count").textContent = `${this.numbers.length} of ${this.store.count} episodes`;
    const open = this.state.episode === undefined ? undefined : Number(this.state.episode);
    if (open === undefined || !(open < this.store.count)) this.state.episode = this.numbers[0];
    else if (!this.numbers.includes(open) && this.numbers.length) this.state.episode = this.numbers[0];
    this.drawList();
    this.drawPanels();
  }

  nameOf(i) {
    const step = this.store.columns.step[i];
    const training = this.store.at("kind", i) === "update";
    return `${this.store.at("arm", i)} seed ${this.store.columns.seed[i]}, ${training ? "update" : "step"} ${step}, ${this.store.at("decoding", i)}`;
  }

  drawList() {
    const items = this.numbers.slice(0, this.shown).map((i) => {
      const solved = this.store.columns.solved_at[i];
      const item = make("li", { role: "option" },
        make("span", { className: `dot ${solved ? "good" : "bad"}`, ariaHidden: "true" }),
        make("span", { className: "name" }, this.store.at("problem", i)),
        make("span", { className: "what" }, `${this.nameOf(i)}; ${solved ? `right at reply ${solved}` : this.store.at("outcome", i).replaceAll("_", " ")}`));
      item.dataset.number = i;
      item.setAttribute("aria-selected", String(i === Number(this.state.episode)));
      return item;
    });
    if (this.numbers.length > this.shown) items.push(make("li", { className: "more" }, `show more of ${this.numbers.length}`));
    if (!items.length) items.push(make("li", {}, "No episode fits these filters: choose all in one of them."));
    this.part(".list").replaceChildren(...items);
  }

  async open(i) {
    this.state.episode = i;
    for (const name of ["beside", "turn"]) delete this.state[name];
    const place = this.numbers.indexOf(i);
    if (place >= this.shown) { this.shown = place + 200; this.drawList(); }
    const before = one("[aria-selected=true]", this.part(".list"));
    if (before) before.setAttribute("aria-selected", "false");
    const now = one(`[data-number="${i}"]`, this.part(".list"));
    if (now) { now.setAttribute("aria-selected", "true"); now.scrollIntoView({ block: "nearest" }); }
    await this.drawPanels();
  }

  chosen() {
    const beside = (this.state.beside ?? "").split(".").filter(Boolean).map(Number).filter((i) => i < this.store.count);
    return this.state.episode === undefined ? [] : [...new Set([Number(this.state.episode), ...beside])];
  }

  drawPanels() {
    reading = this.read();
    return reading;
  }

  async read() {
    this.remember();
    const chosen = this.chosen();
    const work = (this.panelWork = (this.panelWork ?? 0) + 1);
    let episodes;
    try {
      episodes = await Promise.all(chosen.map((i) => this.store.episode(i)));
    } catch (error) {
      this.part(".panels").replaceChildren(make("p", {}, `This episode cannot be read: ${error.message}`));
      return;
    }
    if (work !== this.panelWork) return;
    this.episodes = episodes;
    this.colour.value = this.state.colour;
    const panels = episodes.map((episode, place) => panel(this.nameOf(chosen[place]), episode, this.state));
    this.part(".panels").replaceChildren(...panels);
    this.part(".panels").dataset.number = String(chosen[0] ?? "");
    this.drawAttempts(chosen);
    panels.forEach((panel, place) => this.addScene(panel, chosen[place]));
    const turn = this.state.turn && one(`[data-turn="${CSS.escape(this.state.turn)}"]`, this.part(".panels"));
    if (turn) { turn.classList.add("pointed"); turn.scrollIntoView({ block: "center" }); }
  }

  async addScene(panel, i) {
    const scene = await this.store.scene(i);
    if (scene && panel.isConnected) addScene(panel, scene);
  }

  // Every episode about the problem that is open, each of which can be put beside it.
  drawAttempts(chosen) {
    if (!chosen.length) return;
    const { store } = this;
    const rows = store.byProblem.get(store.columns.problem[chosen[0]]).map((i) => {
      const box = make("input", { type: "checkbox", checked: chosen.includes(i), ariaLabel: `show ${this.nameOf(i)}` });
      box.addEventListener("change", () => this.toggle(i));
      const solved = store.columns.solved_at[i];
      const cells = [store.at("arm", i), store.columns.seed[i], `${store.at("kind", i)} ${store.columns.step[i]}`, store.at("decoding", i),
        solved ? `right at ${solved}` : store.at("outcome", i).replaceAll("_", " "), minus(store.columns.reward[i], 1), sum(store.columns.tokens[i])];
      return make("tr", {}, make("td", {}, box), ...cells.map((cell) => make("td", {}, String(cell))));
    });
    const names = ["", "arm", "seed", "when", "decoding", "outcome", "reward", "tokens"];
    const head = make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name))));
    this.part(".attempts .wide").replaceChildren(make("table", {}, head, make("tbody", {}, ...rows)));
    this.part(".attempts summary").textContent = `All ${rows.length} attempts at ${store.at("problem", chosen[0])}`;
  }

  toggle(i) {
    const chosen = this.chosen();
    const others = chosen.includes(i) ? chosen.filter((j) => j !== i) : [...chosen, i];
    if (!others.length) return;
    this.state.episode = others[0];
    this.state.beside = others.slice(1).join(".");
    this.drawPanels();
  }

  // The same problem under the start and under the end of every other arm.
  compare() {
    const [i] = this.chosen();
    if (i === undefined) return;
    const { store } = this;
    const best = new Map();
    for (const j of peers(store, i)) {
      const arm = store.at("arm", j);
      const before = best.get(arm);
      if (store.at("kind", j) === store.at("kind", i) && arm !== store.at("arm", i) && (before === undefined || store.columns.step[j] > store.columns.step[before])) best.set(arm, j);
    }
    this.state.beside = [...best.values()].slice(0, 3).join(".");
    this.drawPanels();
  }

  alone() {
    delete this.state.beside;
    this.drawPanels();
  }

  move(by) {
    const place = this.numbers.indexOf(Number(this.state.episode)) + by;
    if (place >= 0 && place < this.numbers.length) this.open(this.numbers[place]);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { event.target.blur(); this.alone(); return; }
    if (event.target.closest("input, select, textarea")) return;
    const inList = event.target.closest(".list");
    const acts = { j: () => this.move(1), k: () => this.move(-1), s: () => this.compare(), c: () => this.nextColour(), "/": () => one("[name=q]", this.root).focus() };
    if (inList) Object.assign(acts, { ArrowDown: acts.j, ArrowUp: acts.k });
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  }

  nextColour() {
    this.state.colour = COLOURS[(COLOURS.indexOf(this.state.colour) + 1) % COLOURS.length];
    this.drawPanels();
  }

  copy(json) {
    const chosen = this.chosen();
    const texts = this.episodes.map((episode, place) => asText(`${episode.problem}, ${this.nameOf(chosen[place])}`, episode));
    this.put(json ? JSON.stringify(this.episodes, null, 1) : texts.join("\n\n----\n\n"));
  }

  copyLink() {
    this.put(location.href);
  }

  async put(text) {
    const told = this.part(".count");
    try {
      await navigator.clipboard.writeText(text);
      told.textContent = `Copied ${text.length} characters.`;
    } catch {
      save("episode.txt", "text/plain", text);
      told.textContent = "The browser keeps the clipboard closed: saved as a file.";
    }
  }

  // What a server has beyond what is known: runs that go on.
  async follow() {
    try {
      const index = await this.store.ask(`index?known=${this.store.count}`);
      if (index.count === this.store.count) return;
      this.store.take(index);
      this.presets = presetsOf(this.store, this.root.dataset.trained);
      this.drawFilters();
      await this.refresh();
    } catch { /* the server has gone: what is here can still be read */ }
  }
}

async function openViewer(root) {
  const held = JSON.parse(document.getElementById("index").textContent);
  const store = new Store(held ?? await (await fetch("index")).json(), all("script.chunk"), all("script.map"), Boolean(root.dataset.shows));
  const viewer = new Viewer(root, store);
  if (!held) setInterval(() => viewer.follow(), 5000);
}

const root = document.getElementById("viewer");
if (root) openViewer(root);
