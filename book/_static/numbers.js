// Below every figure of a page: its numbers, as a table and as CSV, and its picture as SVG, all made from the figure itself.
(() => {
  const ROWS = 100; // of a table on the page; the CSV holds all
  // Fields that only say where or how a mark is drawn; they are numbers of the figure where a tooltip tells them.
  const LAYOUT = new Set(
    `above at base before change depth drawn_low edge ends far first floor from head hit hit2 kind label last lit long mark middle name
    nothing place places row said shade share short side size span state thick to told who width x x2 y y2`.split(/\s+/),
  );

  // The data sets of a chart, each with the titles of the tooltips that tell its fields.
  const tooltips = (spec) => {
    const found = new Map();
    const walk = ({ data, encoding, layer = [] }, above) => {
      const name = data?.name ?? above;
      if (!found.has(name)) found.set(name, new Map());
      for (const { field, title } of [encoding?.tooltip ?? []].flat()) found.get(name).set(field, title ?? field);
      for (const each of layer) walk(each, name);
    };
    walk(spec);
    return found;
  };

  // A data set as records by column. A row with lists, side by side, is as many rows.
  const records = (rows, titles) => {
    const fields = [...new Set(rows.flatMap(Object.keys))].filter((field) => titles.has(field) || !LAYOUT.has(field));
    const columns = new Map(fields.map((field) => [LAYOUT.has(field) ? titles.get(field) : field, field]));
    return rows.flatMap((row) => {
      const lists = fields.map((field) => row[field]).filter(Array.isArray);
      const at = (value, place) => (Array.isArray(value) ? value[place] : value);
      return Array.from({ length: lists.length ? Math.max(...lists.map((list) => list.length)) : 1 }, (_, place) =>
        Object.fromEntries([...columns].map(([column, field]) => [column, at(row[field], place)])),
      );
    });
  };

  // Records of a chart: of the data sets that a tooltip tells of or that have an interval; where there is none, of all.
  const ofChart = (chart) => {
    const spec = JSON.parse(chart.querySelector('script[type="application/json"]').textContent);
    const told = tooltips(spec);
    const sets = Object.entries(spec.datasets ?? {}).map(([name, rows]) => [rows, told.get(name) ?? new Map()]);
    const numbers = sets.filter(([[first = {}], titles]) => titles.size || ("low" in first && "high" in first));
    return (numbers.length ? numbers : sets).flatMap(([rows, titles]) => records(rows, titles));
  };

  // Records of a figure that is a text: a word, what is told where one points at it, and the heading it stands below.
  const ofText = (group) =>
    [...group.querySelectorAll(".output [title]")].map((word) => {
      const head = word.closest("details")?.querySelector("summary") ?? word.closest("dd")?.previousElementSibling;
      return { text: head?.textContent.trim(), word: word.textContent, numbers: word.title };
    });

  // The numbers of a figure as a table: names of columns, and rows, each different one once.
  const table = (group, charts) => {
    const panel = (place) => (charts.length > 1 ? { panel: place + 1 } : {});
    const all = charts.length
      ? charts.flatMap((chart, place) => ofChart(chart).map((record) => ({ ...panel(place), ...record })))
      : ofText(group);
    const head = [...new Set(all.flatMap(Object.keys))];
    const rows = new Map(all.map((record) => head.map((column) => record[column] ?? null)).map((row) => [JSON.stringify(row), row]));
    return { head, rows: [...rows.values()] };
  };

  // A cell of a CSV (RFC 4180). A text that a spreadsheet would take for a formula begins with an apostrophe.
  const cell = (value) => {
    const text = typeof value === "string" ? value.replace(/^[\t\r\n]*[=+\-@＝＋－＠]/, "'$&") : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = ({ head, rows }) => [head, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");

  // The charts of a figure as one picture, where they stand on the page, dark on white.
  const svg = async (group, charts) => {
    const outer = group.getBoundingClientRect();
    const parts = charts.map(async (chart) => {
      const box = chart.querySelector(".marks").getBoundingClientRect();
      return [await chart.view.toSVG(), box.left - outer.left, box.top - outer.top, box.width, box.height];
    });
    const drawn = await Promise.all(parts);
    const [left, top] = [1, 2].map((place) => Math.min(...drawn.map((each) => each[place])));
    const [width, height] = [1, 2].map((place, side) => Math.max(...drawn.map((each) => each[place] + each[place + 2])) - [left, top][side]);
    const inside = drawn.map(([text, x, y]) => text.replace("<svg", `<svg x="${x - left}" y="${y - top}"`)).join("\n");
    const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
    return `<svg xmlns="http://www.w3.org/2000/svg" ${size} style="color:#222"><rect width="100%" height="100%" fill="#fff"/>\n${inside}\n</svg>\n`;
  };

  const words = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");

  // What a file of a figure is called: the figure (of the paper, or by its label), the pair, the commit of the package.
  const stem = (group, place) => {
    const [head] = (group.querySelector(".caption-text")?.textContent ?? "").split(":");
    const figure = /^(Figures?|Table) .*of the paper/.test(head) ? words(head.replace("of the paper", "")) : group.id.replace(/^fig-/, "figure-");
    const { pair = "", commit = "" } = document.querySelector("[data-pair]")?.dataset ?? {};
    return [figure || `figure-${place + 1}`, words(pair), commit].filter(Boolean).join("-");
  };

  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };

  const element = (name, text = "", attributes = {}) => {
    const made = document.createElement(name);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  const button = (text, label, act) => {
    const made = element("button", text, { type: "button", "aria-label": `${text}: ${label}` });
    made.addEventListener("click", act);
    return made;
  };

  const rounded = (value) => (typeof value === "number" ? Number(value.toPrecision(6)) : (value ?? "–"));

  // The table as HTML; every value is text.
  const shown = ({ head, rows }) => {
    const box = element("div", "", { tabindex: 0, role: "region", "aria-label": "Numbers of this figure" });
    const made = box.appendChild(element("table"));
    const line = (part, kind, values, attributes) => {
      const row = part.insertRow();
      for (const value of values) row.append(element(kind, rounded(value), attributes(value)));
    };
    line(made.createTHead(), "th", head, () => ({ scope: "col" }));
    const body = made.createTBody();
    for (const row of rows.slice(0, ROWS)) line(body, "td", row, (value) => (typeof value === "number" ? {} : { dir: "auto" }));
    return rows.length > ROWS ? [element("p", `The first ${ROWS} of ${rows.length.toLocaleString("en")} rows; the CSV holds all.`), box] : [box];
  };

  const add = (group, place) => {
    const charts = group.matches(".predact-chart") ? [group] : [...group.querySelectorAll(".predact-chart")];
    const [called, numbers] = [stem(group, place), () => table(group, charts)];
    const tools = element("div", "", { class: "predact-numbers" });
    const details = tools.appendChild(element("details"));
    details.append(element("summary", "Numbers of this figure"));
    details.addEventListener("toggle", () => details.children.length > 1 || details.append(...shown(numbers())));
    tools.append(button("CSV", "save the numbers of this figure", () => save(`${called}.csv`, "text/csv", csv(numbers()))));
    if (charts.length)
      tools.append(button("SVG", "save the picture of this figure", async () => save(`${called}.svg`, "image/svg+xml", await svg(group, charts))));
    group.matches("figure") ? group.append(tools) : group.after(tools);
  };

  const start = () => {
    const drawn = [...document.querySelectorAll(".predact-chart, .predact-lens, .predact-passages")];
    const groups = drawn.map((each) => each.closest("figure") ?? each.closest(".predact-panels") ?? each);
    [...new Set(groups)].forEach(add);
  };

  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
