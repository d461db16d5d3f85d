// Tables that sort by a click on a heading, and give their numbers as CSV and JSON.
function valueOf(cell) {
  const text = (cell && (one("b", cell) || cell).textContent.trim().replace("\u2212", "-")) || "";
  const number = parseFloat(text);
  return Number.isNaN(number) ? text : number;
}

function sortBy(table, column, up) {
  const rows = [...table.tBodies[0].rows];
  const key = (row) => valueOf(row.cells[column]);
  rows.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    const less = typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1;
    return up ? less : -less;
  });
  table.tBodies[0].append(...rows);
}

for (const table of all("details.table table")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const first = table.tBodies[0].rows[0] ? table.tBodies[0].rows[0].cells.length - heads.length : 0;
  heads.forEach((head, place) => {
    const button = make("button", { type: "button", className: "sort", textContent: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      sortBy(table, place + first, up);
    });
  });
}

// A cell of a CSV file. What a spreadsheet would take for a formula is made text.
function quoted(value) {
  const text = Array.isArray(value) ? value.join(" ") : value === null ? "" : String(value);
  const safe = /^[=@\t\r]|^[+-](?![\d.])/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

function csvOf(records) {
  const names = [...new Set(records.flatMap(Object.keys))];
  const line = (values) => values.map(quoted).join(",");
  return [line(names), ...records.map((record) => line(names.map((name) => record[name] ?? null)))].join("\r\n") + "\r\n";
}

for (const table of all("details.table")) {
  const records = () => JSON.parse(one("script.numbers", table).textContent);
  for (const button of all("[data-save]", table)) {
    button.addEventListener("click", () => {
      const json = button.dataset.save === "json";
      const text = json ? JSON.stringify(records(), null, 1) : csvOf(records());
      save(`${table.dataset.name}.${button.dataset.save}`, json ? "application/json" : "text/csv", text);
    });
  }
}
