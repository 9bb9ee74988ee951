"use strict";
// Headings marked data-sort become buttons; each body of the table is sorted by itself.
for (const heading of document.querySelectorAll("th[data-sort]")) {
  const button = document.createElement("button");
  button.type = "button";
  while (heading.firstChild) button.append(heading.firstChild);
  heading.append(button);
  button.addEventListener("click", () => sort(heading));
}
function key(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number.parseFloat(text.replace("−", "-"));
  return /^[-−+]?[\d.]/.test(text) ? number : text.toLowerCase();
}
function order(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  return typeof a === "number" ? 1 : -1;
}
function sort(heading) {
  const table = heading.closest("table");
  const column = heading.cellIndex;
  const numeric = heading.classList.contains("num");
  const now = heading.getAttribute("aria-sort");
  const direction = now === null ? (numeric ? "descending" : "ascending") : now === "ascending" ? "descending" : "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => row.cells.length > column);
    rows.map((row) => [key(row, column), row])
      .sort((a, b) => sign * order(a[0], b[0]))
      .forEach((pair) => body.append(pair[1]));
  }
}
// A confusion matrix is drawn from its sparse counts: a row's columns and counts in turn.
const names = JSON.parse(document.getElementById("class-names")?.textContent ?? "[]");
const SIDE = 6; // pixels of a cell before scaling
for (const canvas of document.querySelectorAll("canvas.heat")) {
  const rows = JSON.parse(canvas.dataset.cells).map((flat) => {
    const counts = new Map();
    for (let k = 0; k < flat.length; k += 2) counts.set(flat[k], flat[k + 1]);
    return counts;
  });
  const totals = rows.map((counts) => [...counts.values()].reduce((a, b) => a + b, 0));
  const told = document.getElementById(canvas.getAttribute("aria-describedby"));
  let at = null;
  const draw = () => {
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    pen.clearRect(0, 0, canvas.width, canvas.height);
    rows.forEach((counts, i) => counts.forEach((count, j) => {
      pen.fillStyle = `rgb(${color(i === j ? "--own" : "--wrong")} / ${0.2 + 0.8 * count / totals[i]})`;
      pen.fillRect(j * SIDE, i * SIDE, SIDE, SIDE);
    }));
    if (at === null) return;
    pen.fillStyle = color("--ink");
    pen.globalAlpha = 0.18;
    pen.fillRect(0, at[0] * SIDE, canvas.width, SIDE);
    pen.fillRect(at[1] * SIDE, 0, SIDE, canvas.height);
    pen.globalAlpha = 1;
    pen.strokeStyle = color("--ink");
    pen.strokeRect(at[1] * SIDE + 0.5, at[0] * SIDE + 0.5, SIDE - 1, SIDE - 1);
  };
  const show = (row, column) => {
    const last = rows.length - 1;
    at = [Math.min(last, Math.max(0, row)), Math.min(last, Math.max(0, column))];
    const [i, j] = at;
    told.textContent = `${names[i]} called ${names[j]}: ${rows[i].get(j) ?? 0} of ${totals[i]} videos`;
    draw();
  };
  canvas.addEventListener("pointermove", (event) => {
    const cell = canvas.clientWidth / rows.length;
    show(Math.floor(event.offsetY / cell), Math.floor(event.offsetX / cell));
  });
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    const [down, right] = at === null ? [0, 0] : steps[event.key];
    show((at?.[0] ?? 0) + down, (at?.[1] ?? 0) + right);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}
// The list of videos is cut down to rows with the text that is typed.
const filter = document.getElementById("filter");
filter?.addEventListener("input", () => {
  const wanted = filter.value.trim().toLowerCase();
  const rows = [...document.querySelector("#disputed tbody").rows];
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  const shown = rows.filter((row) => !row.hidden).length;
  document.getElementById("filtered").textContent = wanted ? `${shown} of ${rows.length}` : "";
});
