
"use strict";
// Reads only attributes and text of the page, writes only order, ticks and `open`: nothing from the data is ever code.
(() => {
  const keyOf = (row, column) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim().toLowerCase();

  const sort = (table, column) => {
    const heads = [...table.tHead.rows[0].cells], head = heads[column], body = table.tBodies[0], rows = [...body.rows];
    const numeric = rows.every((row) => !Number.isNaN(Number(keyOf(row, column))));
    const before = head.getAttribute("aria-sort");
    const down = before === null ? numeric && !/rank|second|failure|^p\b/.test(head.textContent) : before === "ascending";
    rows.sort((a, b) => {
      const x = keyOf(a, column), y = keyOf(b, column);
      if ((x === "") !== (y === "")) return x === "" ? 1 : -1;  // what is not there comes last, either way
      const order = numeric ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
      return down ? -order : order;
    });
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, column));
    });
  }

  for (const tools of document.querySelectorAll(".tools")) {
    tools.hidden = false;
    const boxes = [...tools.closest(".legend").querySelectorAll("input")];
    tools.addEventListener("click", (event) => {
      const set = event.target.dataset.set;
      if (set) for (const box of boxes) box.checked = set === "all" || (set === "best" && "best" in box.dataset);
    });
  }

  window.addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details")) each.open = true; });
})();
