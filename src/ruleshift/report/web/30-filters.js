// Which episodes are listed: filters, presets, order. All of it stands in the address, so that it can be passed on.
const FIELDS = ["split", "arm", "seed", "kind", "step", "decoding", "outcome"];
const ORDERS = {
  "problem": null,
  "reward": (store, i) => -store.columns.reward[i],
  "length": (store, i) => -sum(store.columns.tokens[i]),
  "log-probability": (store, i) => store.columns.logprob[i] ?? 0,
  "change against the start": (store, i) => -Math.abs(store.columns.change[i] ?? 0),
  "lost against the start": (store, i) => store.columns.reward[i] - rewardAtStart(store, i),
};
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const SURE = -0.02; // mean log-probability above which a reply was given with confidence

// The reward of the start model on the same problem under the same decoding.
function rewardAtStart(store, i) {
  const same = peers(store, i).find((j) => store.columns.step[j] === 0 && store.columns.kind[j] === store.columns.kind[i]);
  return same === undefined ? store.columns.reward[i] : store.columns.reward[same];
}

// Episodes about the same problem under the same decoding.
function peers(store, i) {
  const { problem, decoding } = store.columns;
  return store.byProblem.get(problem[i]).filter((j) => decoding[j] === decoding[i]);
}

function lastSteps(store) {
  const last = new Map();
  for (let i = 0; i < store.count; i += 1) {
    if (store.at("kind", i) !== "point") continue;
    const run = `${store.at("arm", i)}/${store.columns.seed[i]}`;
    last.set(run, Math.max(last.get(run) ?? 0, store.columns.step[i]));
  }
  return last;
}

function presetsOf(store, trainedSplit) {
  const last = lastSteps(store);
  const atEnd = (i) => last.get(`${store.at("arm", i)}/${store.columns.seed[i]}`) === store.columns.step[i];
  const isPoint = (i) => store.at("kind", i) === "point";
  const startRight = (i) => peers(store, i).some((j) => isPoint(j) && store.columns.step[j] === 0 && store.columns.solved_at[j] > 0);
  const wrong = (i) => store.columns.solved_at[i] === 0;
  const trained = store.valuesOf("arm").filter((arm, place) => store.columns.arm.some((a, i) => a === place && store.columns.step[i] > 0));
  const presets = { "everything": null };
  for (const arm of trained) {
    presets[`start right, ${arm} wrong under shift`] = (i) => store.at("arm", i) === arm && isPoint(i) && atEnd(i)
      && store.at("split", i) !== trainedSplit && wrong(i) && startRight(i);
  }
  presets["answered by the training rule"] = (i) => store.columns.trained_words[i] || store.at("outcome", i) === "wrong_numbers";
  presets["confident and wrong"] = (i) => wrong(i) && (store.columns.logprob[i] ?? -9) > SURE;
  presets["cut off"] = (i) => store.columns.cut[i];
  return Object.fromEntries(Object.entries(presets).filter(([, test]) => !test || range(store.count).some(test)));
}

const range = (count) => Array.from({ length: count }, (_, i) => i);

// The numbers of the episodes that a state asks for, in its order.
function listed(store, state, presets, found) {
  const tests = FIELDS.filter((name) => state[name]).map((name) => (i) => String(store.at(name, i)) === state[name]);
  if (state.turns === "unsolved") tests.push((i) => store.columns.solved_at[i] === 0);
  else if (state.turns) tests.push((i) => store.columns.solved_at[i] === Number(state.turns));
  if (state.stop) tests.push((i) => store.columns.cut[i] === (state.stop === "length"));
  if (presets[state.preset]) tests.push(presets[state.preset]);
  if (found) tests.push((i) => found.has(i));
  const chosen = range(store.count).filter((i) => tests.every((test) => test(i)));
  const order = ORDERS[state.sort];
  if (!order) return chosen;
  const keys = new Map(chosen.map((i) => [i, order(store, i)]));
  return chosen.sort((a, b) => keys.get(a) - keys.get(b) || a - b);
}

function stateOf(hash) {
  return Object.fromEntries(new URLSearchParams(hash.replace(/^#/, "")));
}

function hashOf(state) {
  const kept = Object.entries(state).filter(([, value]) => value !== "" && value !== undefined);
  return `#${new URLSearchParams(kept)}`;
}
