"use strict";
// Sort a table by a column, and open the section that a link leads to. The page reads well without.
const valueOf = (text) => {
  const found = /^[≤≥±+\u2212-]?[\d.]+/.exec(text.trim());
  if (!found) return null;
  return parseFloat(found[0].replace("\u2212", "-").replace(/[≤≥±+]/, ""));
};
const sortBy = (table, column, order) => {
  const body = table.tBodies[table.tBodies.length - 1];
  const rows = [...body.rows].map((row) => [row, row.cells[column].textContent]);
  const numeric = column > 0 && rows.every(([, text]) => text === "-" || valueOf(text) !== null);
  const compare = ([, a], [, b]) => {
    if (!numeric) return a.localeCompare(b) * order;
    if (a === "-" || b === "-") return (a === "-") - (b === "-");
    return (valueOf(a) - valueOf(b)) * order;
  };
  body.append(...rows.sort(compare).map(([row]) => row));
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  for (const [column, head] of heads.entries()) {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
      sortBy(table, column, order);
    });
  }
}
const open = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", open);
open();
