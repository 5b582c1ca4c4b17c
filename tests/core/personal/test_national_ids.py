"""National ids: published examples are found, one wrong digit is not."""

import pytest

from modelyard.core.personal.finding import find_personal_data

# Examples of the authorities' own documents and of the articles on each number.
FOUND = [
    "my number is 219-09-9999",
    "SSN 219099999",
    "NINO AB 12 34 56 C",
    "Steuer-ID 86095742719",
    "numéro 2 55 08 14 168 025 38",
    "DNI 12345678Z",
    "NIE X-1234567-L",
    "codice RSSMRA85T10A562S",
    "BSN 111222333",
    "PESEL 44051401359",
    "personnummer 811228-9874",
    "rijksregister 93.05.18-223.61",
    "CPF 111.444.777-35",
    "Aadhaar 2341 2341 2346",
    "id 11010519491231002X",
    "SIN 046 454 286",
    "TFN 123 456 782",
]
WRONG = [
    "my number is 666-09-9999",
    "order 219099999",
    "part BG 12 34 56 C",
    "Steuer-ID 86095742718",
    "numéro 2 55 08 14 168 025 39",
    "DNI 12345678A",
    "codice RSSMRA85T10A562T",
    "BSN 111222334",
    "PESEL 44051401358",
    "ticket 811228-9875",
    "version 93.05.18-223.62",
    "CPF 111.444.777-36",
    "Aadhaar 2341 2341 2347",
    "tracking 2341 2341 2346 1234",
    "id 110105194912310021",
    "SIN 046 454 287",
    "TFN 123 456 783",
]


@pytest.mark.parametrize("text", FOUND)
def test_examples_are_found(text: str) -> None:
    assert [kind for *_, kind in find_personal_data(text)] == ["national_id"]


@pytest.mark.parametrize("text", WRONG)
def test_wrong_ones_are_none(text: str) -> None:
    assert "national_id" not in [kind for *_, kind in find_personal_data(text)]
