"use strict";
// Tables that sort and filter, and rows that open. Without this script all of it can be read as it stands.
(() => {
  const collator = new Intl.Collator("en", { numeric: true });

  const speak = document.createElement("p");
  speak.className = "hidden-words";
  speak.setAttribute("aria-live", "polite");
  document.body.append(speak);

  // A row and the open details below it move together.
  const rowsOf = (table) => [...table.tBodies[0].rows].filter((row) => !row.classList.contains("opened"));
  const openedOf = (row) => {
    const next = row.nextElementSibling;
    return next && next.classList.contains("opened") ? next : null;
  };

  // To lay out a thousand rows takes a browser longer than to sort them: of many the first ones are shown.
  const FIRST = 250;
  const misfits = new WeakSet();  // rows that the filter leaves out
  const whole = new WeakSet();  // tables of which all rows were asked for
  const moreOf = new WeakMap();  // the button below a table
  let printing = false;

  const show = (table) => {
    const limit = whole.has(table) || printing ? Infinity : FIRST;
    let fitting = 0;
    for (const row of rowsOf(table)) {
      const opened = openedOf(row);
      row.hidden = misfits.has(row) || fitting >= limit;
      if (opened) opened.hidden = row.hidden;
      fitting += !misfits.has(row);
    }
    const more = moreOf.get(table);
    more.hidden = fitting <= limit;
    more.textContent = `Show all ${fitting} rows, not the first ${FIRST} alone`;
    return fitting;
  };

  const keyOf = (cell, words) => {
    if (cell.classList.contains("missing")) return null;
    if (words) return cell.textContent.trim();
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };

  const sort = (table, column, descending) => {
    const header = table.tHead.rows[0].cells[column];
    const words = header.classList.contains("words");
    const keyed = rowsOf(table).map((row) => [keyOf(row.cells[column], words), row, openedOf(row)]);
    const sign = descending ? -1 : 1;
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);  // what is missing comes last either way
      return sign * (words ? collator.compare(a, b) : a - b);
    });
    const order = document.createDocumentFragment();
    for (const [, row, opened] of keyed) order.append(row, ...(opened ? [opened] : []));
    table.tBodies[0].append(order);
    show(table);
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    speak.textContent = `sorted by ${header.textContent.trim()}, ${descending ? "descending" : "ascending"}`;
  };

  const tables = [...document.querySelectorAll("table[data-sortable]")];
  for (const table of tables) {
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more screen-only";
    more.addEventListener("click", () => {
      whole.add(table);
      show(table);
      table.parentElement.focus();
    });
    moreOf.set(table, more);
    table.parentElement.after(more);
    show(table);
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const before = header.getAttribute("aria-sort");
        // Numbers begin with the largest, words with A.
        const first = header.classList.contains("words") ? "ascending" : "descending";
        sort(table, column, (before ? (before === "ascending" ? "descending" : "ascending") : first) === "descending");
      });
    });
  }

  for (const form of document.querySelectorAll(".filter")) {
    const table = document.getElementById(form.dataset.for);
    const search = form.querySelector("input");
    const selects = [...form.querySelectorAll("select")];
    const output = form.querySelector("output");
    const rows = rowsOf(table).map((row) => [row, row.textContent.toLowerCase()]);
    const apply = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const [row, text] of rows) {
        const fits = words.every((word) => text.includes(word))
          && selects.every((select) => !select.value || row.dataset[select.dataset.column] === select.value);
        if (fits) misfits.delete(row); else misfits.add(row);
      }
      output.textContent = `${show(table)} of ${rows.length} rows`;
    };
    form.addEventListener("input", apply);
    form.querySelector(".reset").addEventListener("click", () => {
      search.value = "";
      for (const select of selects) select.value = "";
      apply();
      search.focus();
    });
    form.hidden = false;
    apply();
  }

  const toggle = (button, row) => {
    const opened = openedOf(row);
    const details = document.getElementById(button.dataset.details);
    button.setAttribute("aria-expanded", String(!opened));
    if (opened) {
      details.append(opened.querySelector(".detail"));
      opened.remove();
      return;
    }
    const below = document.createElement("tr");
    below.className = "opened";
    const cell = below.insertCell();
    cell.colSpan = row.cells.length;
    cell.append(details.querySelector(".detail"));
    row.after(below);
  };

  for (const link of document.querySelectorAll("a.open")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "open";
    button.dataset.details = link.hash.slice(1);
    button.setAttribute("aria-expanded", "false");
    button.append(...link.childNodes);
    link.replaceWith(button);
  }
  for (const table of tables) {
    table.tBodies[0].addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      const button = row && row.parentElement === table.tBodies[0] && row.querySelector("button.open");
      if (!button || row.classList.contains("opened") || event.target.closest("a")) return;
      if (!event.target.closest("button") && String(getSelection())) return;  // someone marks text
      toggle(button, row);
    });
  }
  for (const records of document.querySelectorAll(".records")) records.hidden = true;

  for (const [name, value] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(name, () => {
      printing = value;
      tables.forEach(show);
    });
  }

  // A link to folded settings opens them.
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
