"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const tip = document.getElementById("tip");

  // Tables: a click sorts, a second one turns the order; rows without a value stay last either way.
  const value = (row, column) => {
    const cell = row.cells[column];
    if (!cell || cell.dataset.v === undefined) return null;
    const number = Number(cell.dataset.v);
    return cell.dataset.v !== "" && Number.isFinite(number) ? number : cell.dataset.v;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  const sort = (head) => {
    const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map((row) => [value(row, column), row]);
    rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : (down ? -1 : 1) * compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  };
  all("table.sortable thead th").forEach((head) => head.firstElementChild.addEventListener("click", () => sort(head)));

  // A table wider than its place says so.
  const fits = (box) => box.classList.toggle("wide", box.scrollWidth > box.clientWidth + 1);
  const places = new ResizeObserver((found) => found.forEach(({ target }) => fits(target)));
  all(".scroll").forEach((box) => places.observe(box));

  // Filters: datasets, models.
  const boxes = all(".pick input");
  const hide = (element, hidden) => element.classList.toggle("off", hidden);
  const filter = () => {
    const kept = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    all("main [data-model]").forEach((element) =>
      hide(element, !kept.has(element.dataset.model)));
    document.getElementById("picked").textContent = kept.size === boxes.length ? "all" : kept.size + " of " + boxes.length;
  };
  boxes.forEach((box) => box.addEventListener("change", filter));
  all("[data-pick]").forEach((button) => button.addEventListener("click", () => {
    const wanted = button.dataset.pick;
    boxes.forEach((box) => { box.checked = wanted === "all" || (wanted === "networks" && "network" in box.dataset); });
    filter();
  }));
  all("[data-show]").forEach((button) => button.addEventListener("click", () => {
    all("[data-show]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    all("[data-dataset]").forEach((part) => hide(part, button.dataset.show !== "" && part.dataset.dataset !== button.dataset.show));
  }));
  document.addEventListener("click", (event) => {
    all("details.pick[open]").forEach((open) => { if (!open.contains(event.target)) open.open = false; });
  });

  // Tooltips: a mark's own words, and in line charts the named lines' values at the nearest x.
  const place = (event, words) => {
    tip.textContent = words;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, event.clientX + 14), window.innerWidth - box.width - 8);
    const above = event.clientY - box.height - 14;
    tip.style.left = left + "px";
    tip.style.top = (above > 8 ? above : event.clientY + 18) + "px";
  };
  const nearest = (svg, event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const places = svg.dataset.x.split(" ").map(Number);
    let best = 0;
    places.forEach((at, i) => { if (Math.abs(at - x) < Math.abs(places[best] - x)) best = i; });
    return [best, places[best]];
  };
  const cross = (svg, x) => {
    let line = svg.querySelector(".cross");
    if (!line) {
      line = document.createElementNS("http://www.w3.org/2000/svg", "path");
      line.setAttribute("class", "cross");
      svg.prepend(line);
    }
    line.setAttribute("d", "M" + x + " 18V" + (svg.viewBox.baseVal.height - 40));
  };
  const clear = () => {
    tip.hidden = true;
    all(".cross").forEach((line) => line.remove());
    all(".s.on").forEach((mark) => mark.classList.remove("on"));
  };
  const point = (event) => {
    clear();
    const said = event.target.closest("[data-tip]");
    const svg = event.target.closest("svg[data-x]");
    const words = said ? [said.dataset.tip] : [];
    if (said && said.classList.contains("s")) said.classList.add("on");
    if (svg) {
      const [at, x] = nearest(svg, event);
      const moment = (svg.dataset.xl || "").split("|")[at];
      if (moment) words.unshift(moment);
      all("[data-y]", svg).reverse().forEach((mark) => {
        const shown = mark.dataset.y.split("|")[at];
        if (!mark.classList.contains("off") && shown) words.push(mark.dataset.name + ": " + shown);
      });
      cross(svg, x);
    }
    if (words.length) place(event, words.join("\n"));
  };
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("scroll", clear, { passive: true });
})();
