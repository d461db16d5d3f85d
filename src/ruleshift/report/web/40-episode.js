// One episode as a panel: what was said, coloured by what is known of its tokens, with a verdict on each reply.
const COLOURS = ["plain", "log-probability", "change", "after the update", "entropy", "advantage"];
const RED = "200, 60, 40", BLUE = "20, 110, 200", ORANGE = "215, 110, 0";

// How strongly a token is coloured, from 0 to 1, and with what.
function shade(turn, k, colour) {
  const log = turn.logprobs[k];
  const signed = (value, scale) => [Math.min(1, Math.abs(value) / scale), value >= 0 ? BLUE : ORANGE];
  if (colour === "log-probability" && log !== undefined) return [Math.min(1, -log / 3), RED];
  if (colour === "change" && turn.start.length) return signed(log - turn.start[k], 1.5);
  if (colour === "after the update" && turn.after.length) return signed(turn.after[k] - log, 0.5);
  if (colour === "entropy" && turn.entropy.length) return [Math.min(1, turn.entropy[k] / 1.5), RED];
  if (colour === "advantage" && turn.advantage !== null) return signed(turn.advantage, 2);
  return [0, RED];
}

function aboutToken(turn, k) {
  const known = [["log-prob", turn.logprobs], ["start", turn.start], ["after", turn.after], ["entropy", turn.entropy]];
  const told = known.filter(([, values]) => values.length).map(([name, values]) => `${name} ${minus(values[k], 3)}`);
  return `${JSON.stringify(turn.pieces[k])}: ${told.join(", ")}`;
}

function highlighted(text, search) {
  if (!search) return [text];
  const parts = [];
  const [low, wanted] = [text.toLowerCase(), search.toLowerCase()];
  let from = 0;
  for (let at = low.indexOf(wanted); at >= 0; at = low.indexOf(wanted, from)) {
    parts.push(text.slice(from, at), make("mark", {}, text.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  return [...parts, text.slice(from)];
}

function reply(turn, colour, search) {
  const text = make("div", { className: "text", dir: "auto" });
  if (colour === "plain" || !turn.pieces.length) {
    text.append(...highlighted(turn.text, search));
    return text;
  }
  turn.pieces.forEach((piece, k) => {
    const token = make("span", { className: "token", title: aboutToken(turn, k) }, piece);
    const [strength, channels] = shade(turn, k, colour);
    if (strength > 0.02) token.style.backgroundColor = `rgba(${channels}, ${(0.5 * strength).toFixed(3)})`;
    text.append(token);
  });
  return text;
}

function chipOf(turn) {
  const tone = turn.right ? "good" : turn.valid ? "fair" : "bad";
  const told = `${turn.outcome.replaceAll("_", " ")} ${turn.reward >= 0 ? "+" : "\u2212"}${Math.abs(turn.reward)}`;
  return make("span", { className: `chip ${tone}` }, told);
}

function verdictOf(turn) {
  const line = make("div", { className: "verdict" }, chipOf(turn));
  const told = [];
  if (turn.found) told.push(`= ${turn.found}`);
  if (turn.stop === "length") told.push("cut off");
  if (turn.words) told.push(`words: ${turn.words}`);
  if (turn.value !== null) told.push(`value ${minus(turn.value)}`);
  if (turn.advantage !== null) told.push(`advantage ${minus(turn.advantage)}`);
  if (told.length) line.append(make("span", { className: "found" }, told.join(" \u00b7 ")));
  return line;
}

// The panel of an episode. The last assistant messages are its turns'; those before are examples.
function panel(heading, episode, state) {
  const examples = episode.messages.filter((m) => m.role === "assistant").length - episode.turns.length;
  const chat = make("div", { className: "chat" });
  let replies = 0;
  for (const message of episode.messages) {
    const turn = message.role === "assistant" ? episode.turns[replies++ - examples] : undefined;
    const number = replies - examples;
    const who = { user: number > 0 ? "verifier" : "task", system: "system", assistant: turn ? `model, reply ${number}` : "example" };
    const bubble = make("div", { className: `bubble ${message.role}` }, make("div", { className: "who" }, who[message.role]));
    if (turn) bubble.dataset.turn = number;
    if (message.pictures.length) bubble.append(picturesOf(message.pictures));
    const text = make("div", { className: "text", dir: "auto", tabIndex: message.text.length > 900 ? 0 : -1 });
    text.append(...highlighted(message.text, state.q));
    bubble.append(turn ? reply(turn, state.colour, state.q) : text);
    if (turn) bubble.append(verdictOf(turn));
    chat.append(bubble);
  }
  return make("section", { className: "panel", ariaLabel: heading }, make("h3", {}, heading), chat);
}

function picturesOf(urls) {
  return make("div", { className: "seen" }, ...urls.map((src) => make("img", { src, alt: "what the model sees" })));
}

// What was to be seen, added to a panel: the map above what was said, and pictures where the episode kept none.
function addScene(panel, scene) {
  if (scene.map) {
    const map = make("img", { src: scene.map, alt: "Map of the way: landmarks and turns, with the number of each reply where it was given" });
    const shown = make("details", { className: "map", open: true }, make("summary", {}, "Map of the way"), map,
      make("p", { className: "note" }, "Numbers are those of the replies, at the place where each was given; \u00d7 marks a wrong one."));
    one("h3", panel).after(shown);
  }
  all(".bubble", panel).forEach((bubble, place) => {
    const urls = scene.pictures[place] ?? [];
    if (urls.length && !one(".seen", bubble)) one(".who", bubble).after(picturesOf(urls));
  });
}

function asText(heading, episode) {
  return [heading, ...episode.messages.map((message) => `[${message.role}]\n${message.text}`)].join("\n\n");
}
