"""The value sets (PS3.16 context groups) that the template rows draw from: "code scheme meaning", one a line.

Kept apart from the codes that the writers use, so that neither can be wrong for the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_TABLES = {
    # CAD Processing and Finding Summary
    "CID 6047": """
        111241 DCM All algorithms succeeded; without findings
        111242 DCM All algorithms succeeded; with findings
        111243 DCM Not all algorithms succeeded; without findings
        111244 DCM Not all algorithms succeeded; with findings
        111245 DCM No algorithms succeeded; without findings
    """,
    # Result Status
    "CID 6042": """
        111222 DCM Succeeded
        111223 DCM Partially Succeeded
        111224 DCM Failed
        111225 DCM Not Attempted
    """,
    # CAD Output Intended Use
    "CID 6034": """
        111150 DCM Presentation Required: Rendering device is expected to present
        111151 DCM Presentation Optional: Rendering device may present
        111152 DCM Not for Presentation: Rendering device expected not to present
    """,
    # Mammography Single Image Finding
    "CID 6014": """
        111099 DCM Selected region
        111100 DCM Breast geometry
        111101 DCM Image Quality
        111102 DCM Non-lesion
        24142002 SCT Nipple
        129793001 SCT Mammography breast density
        129770007 SCT Individual Calcification
        129769006 SCT Calcification Cluster
        129792006 SCT Architectural distortion of breast
        129794007 SCT Tubular density
        443808008 SCT Intramammary lymph node
        129795008 SCT Trabecular thickening of breast
        129715009 SCT Breast composition
        129796009 SCT Skin retraction of breast
        129797000 SCT Skin thickening of breast
        127189005 SCT Axillary adenopathy
        95324001 SCT Skin lesion
        111111 DCM Cooper's ligament changes
        79654002 SCT Edema
        111112 DCM Mass in the skin
        111113 DCM Mass on the skin
        68171009 SCT Axillary lymph node
    """,
    # Mammography Composite Feature
    "CID 6016": """
        111459 DCM Mass with calcifications
        111099 DCM Selected region
        111100 DCM Breast geometry
        111101 DCM Image Quality
        111102 DCM Non-lesion
        24142002 SCT Nipple
        129793001 SCT Mammography breast density
        129770007 SCT Individual Calcification
        129769006 SCT Calcification Cluster
        129792006 SCT Architectural distortion of breast
        129794007 SCT Tubular density
        443808008 SCT Intramammary lymph node
        129795008 SCT Trabecular thickening of breast
        129715009 SCT Breast composition
        129796009 SCT Skin retraction of breast
        129797000 SCT Skin thickening of breast
        127189005 SCT Axillary adenopathy
        95324001 SCT Skin lesion
        111111 DCM Cooper's ligament changes
        79654002 SCT Edema
        111112 DCM Mass in the skin
        111113 DCM Mass on the skin
        68171009 SCT Axillary lymph node
        129788004 SCT Mammographic breast mass
        129789007 SCT Focal asymmetric breast tissue
        129790003 SCT Asymmetric breast tissue
    """,
    # Composite Feature Relation
    "CID 6035": """
        111153 DCM Target Content Items are related temporally
        111154 DCM Target Content Items are related spatially
        111155 DCM Target Content Items are related contra-laterally
    """,
    # Feature Scope
    "CID 6036": """
        111156 DCM Feature detected on the only image
        111157 DCM Feature detected on only one of the images
        111158 DCM Feature detected on multiple images
        111159 DCM Feature detected on images from multiple modalities
    """,
    # Side
    "CID 6022": """
        80248007 SCT Left breast
        73056007 SCT Right breast
        63762007 SCT Both breasts
    """,
    # View for Mammography
    "CID 4014": """
        399260004 SCT medial-lateral
        399368009 SCT medio-lateral oblique
        399352003 SCT latero-medial
        399099002 SCT latero-medial oblique
        399162004 SCT cranio-caudal
        399196006 SCT caudo-cranial
        399188001 SCT superolateral to inferomedial oblique
        441555000 SCT inferomedial to superolateral oblique
        399192008 SCT cranio-caudal exaggerated laterally
        399101009 SCT cranio-caudal exaggerated medially
        127457009 SCT tissue specimen from breast
    """,
    # View Modifier for Mammography
    "CID 4015": """
        399161006 SCT Cleavage
        399011000 SCT Axillary Tail
        399197002 SCT Rolled Lateral
        399226006 SCT Rolled Medial
        414493004 SCT Rolled Inferior
        415670009 SCT Rolled Superior
        399209000 SCT Implant Displaced
        399163009 SCT Magnification
        399055006 SCT Spot Compression
        399110001 SCT tangential
        442581004 SCT Nipple in profile
        441752004 SCT Anterior compression
        442593008 SCT Infra-mammary fold
        442580003 SCT Axillary tissue
    """,
    # Overall Breast Composition
    "CID 6000": """
        129716005 SCT Almost entirely fat
        129717001 SCT Scattered fibroglandular densities
        129718006 SCT Heterogeneously dense
        129719003 SCT Extremely dense
    """,
    # Mammography Shape Characteristic
    "CID 6004": """
        42700002 SCT Round shape
        84360004 SCT Ovoid shape (Oval)
        40266001 SCT Lobular
        49608001 SCT Irregular
    """,
    # Mammography Margin Characteristic
    "CID 6006": """
        129738007 SCT Circumscribed lesion
        129739004 SCT Microlobulated lesion
        129740002 SCT Obscured lesion
        129741003 SCT Indistinct lesion
        129742005 SCT Spiculated lesion
        111343 DCM Angular margins
    """,
    # Density Modifier
    "CID 6008": """
        129744006 SCT High density lesion
        129745007 SCT Equal density (isodense) lesion
        129746008 SCT Low density (not containing fat) lesion
        129747004 SCT Fat containing (radiolucent) lesion
    """,
    # Mammography Calcification Type
    "CID 6010": """
        129749001 SCT Coarse (popcorn-like) calcification
        129750001 SCT Dystrophic calcification
        129751002 SCT Eggshell calcification
        129752009 SCT Large rod-like calcification
        129753004 SCT Milk of calcium calcification
        129754005 SCT Lucent-centered calcification
        129755006 SCT Punctate calcification
        129756007 SCT Round shaped calcification
        129757003 SCT Calcified skin of breast
        129758008 SCT Calcified suture material
        129759000 SCT Vascular calcification
        129760005 SCT Amorphous calcification
        129761009 SCT Fine, linear (casting) calcification
        129762002 SCT Fine linear, branching (casting) calcification
        129763007 SCT Heterogeneous calcification
        111344 DCM Fine pleomorphic calcification
        44771000 SCT Microcalcifications of the breast
        111345 DCM Macrocalcifications
    """,
    # Calcification Distribution Modifier
    "CID 6012": """
        129764001 SCT Diffuse calcification distribution
        129765000 SCT Linear calcification distribution
        129766004 SCT Grouped calcification distribution
        129767008 SCT Regional calcification distribution
        129768003 SCT Segmental calcification distribution
        111346 DCM Calcifications within a mass
        111347 DCM Calcifications outside of a mass
    """,
    # Quadrant Location
    "CID 6020": """
        76365002 SCT Upper outer quadrant of breast
        19100000 SCT Lower inner quadrant of breast
        33564002 SCT Lower outer quadrant of breast
        77831004 SCT Upper inner quadrant of breast
    """,
    # Clockface Location or Region
    "CID 6018": """
        129778000 SCT 7 o'clock position
        129782003 SCT 11 o'clock position
        129783008 SCT 12 o'clock position
        78904004 SCT Chest wall
        129776001 SCT 5 o'clock position
        129774003 SCT 3 o'clock position
        129777005 SCT 6 o'clock position
        129775002 SCT 4 o'clock position
        129791004 SCT Axilla region
        129772004 SCT 1 o'clock position
        129779008 SCT 8 o'clock position
        129773009 SCT 2 o'clock position
        129786000 SCT Central region of breast
        129785001 SCT Axillary tail region
        129784002 SCT Subareolar region
        129780006 SCT 9 o'clock position
        129781005 SCT 10 o'clock position
    """,
    # Depth
    "CID 6024": """
        C25569 NCIt Middle
        255551008 SCT Posterior
        255549009 SCT Anterior
    """,
    # Mammography Assessment
    "CID 6026": """
        111120 DCM Post Procedure Mammograms for Marker Placement
        397138000 SCT 0 - Incomplete - Need additional imaging evaluation +/- priors
        397140005 SCT 1 - Negative
        397141009 SCT 2 - Benign
        397143007 SCT 3 - Probably Benign
        397144001 SCT 4 - Suspicious
        MA.II.A.5.4A BI 4A - Low suspicion
        MA.II.A.5.4B BI 4B - Intermediate suspicion
        MA.II.A.5.4C BI 4C - Moderate suspicion
        397145000 SCT 5 - Highly suggestive of malignancy
        MA.II.A.5.6 BI 6 - Known biopsy proven malignancy
    """,
    # Mammography Recommended Follow-up
    "CID 6028": """
        111121 DCM Follow-up post biopsy as directed by clinician
        371572003 SCT Nuclear medicine procedure
        386053000 SCT Evaluation procedure
        111410 DCM Surgical consult
        111135 DCM Additional projections
        399163009 SCT Magnification views
        399055006 SCT Spot Compression
        111136 DCM Spot magnification view(s)
        16310003 SCT Diagnostic ultrasonography
        111138 DCM Old films for comparison
        18102001 SCT Mammary ductogram
        111140 DCM Normal interval follow-up
        111141 DCM Any decision to biopsy should be based on clinical assessment
        111142 DCM Follow-up at short interval (1-11 months)
        111143 DCM Biopsy should be considered
        111144 DCM Needle localization and biopsy
        111145 DCM Histology using core biopsy
        111146 DCM Suggestive of malignancy - take appropriate action
        111147 DCM Cytologic analysis
        111148 DCM Biopsy should be strongly considered
        111149 DCM Highly suggestive of malignancy - take appropriate action
        111122 DCM Known biopsy proven malignancy - take appropriate action
        241615005 SCT MRI of breast
    """,
    # Change Since Last Mammogram or Prior Surgery
    "CID 6002": """
        129721008 SCT New finding
        129722001 SCT Finding partially removed
        129723006 SCT No significant changes in the finding
        15454001 SCT Increase in size
        19776001 SCT Decrease in size
        129726003 SCT Increase in number of calcifications
        129727007 SCT Decrease in number of calcifications
        129728002 SCT Less defined
        129729005 SCT More defined
        129730000 SCT Removal of implant since previous mammogram
        129731001 SCT Implant revised since previous mammogram
    """,
    # Follow-up Interval Unit
    "CID 6046": """
        d UCUM day
        wk UCUM week
        mo UCUM month
        a UCUM year
    """,
    # Nipple Characteristic
    "CID 6039": """
        31842008 SCT Normal shape
        271955004 SCT Nipple retraction
    """,
    # Mammography CAD Analysis Type
    "CID 6043": """
        133884007 SCT Spatial collocation analysis
        133885008 SCT Spatial proximity analysis
        133886009 SCT Temporal correlation
        133887000 SCT Image quality analysis
        133888005 SCT Focal asymmetric density analysis
        133889002 SCT Asymmetric breast tissue analysis
        133890006 SCT Breast composition analysis
        111233 DCM Individual Impression/Recommendation Analysis
        111234 DCM Overall Impression/Recommendation Analysis
    """,
    # Calculation Method
    "CID 6140": """
        414135002 SCT Estimated
        112187 DCM Unspecified method of calculation
        112055 DCM Agatston scoring method
        112056 DCM Volume scoring method
        112057 DCM Mass scoring method
        112188 DCM Two-dimensional method
        112189 DCM Three-dimensional method
    """,
    # Laterality of a paired body part
    "CID 244": """
        7771000 SCT Left
        24028007 SCT Right
    """,
    # What a finding is outside of CAD SR: not a group of the standard, but what our Segmentation says too
    "CID of findings": """
        4147007 SCT Mass
        129769006 SCT Calcification Cluster
    """,
    # Calculated Value
    "CID 6142": """
        112017 DCM Cavity extent as percent of volume
        112018 DCM Calcification extent as percent of surface
        112019 DCM Calcification extent as percent of volume
        112191 DCM Breast tissue density
        112192 DCM Volume of parenchymal tissue
        112193 DCM Volume of breast
        112194 DCM Mass of parenchymal tissue
        112195 DCM Mass of breast
        112196 DCM Area of Vascular Calcification
        112197 DCM Volume of Vascular Calcification
        112198 DCM Percentage of Vascular Calcification
        112199 DCM Mass of Vascular Calcification
        112200 DCM Average calcification distance in a calcification cluster
        112201 DCM Standard deviation distance of calcifications in a cluster
        450360000 SCT Coronary artery calcium score
    """,
    # Non-lesion Object Type
    "CID 6040": """
        111176 DCM Unspecified
        102378009 SCT BB shot (Lead Pellet)
        86122002 SCT Bullet
        118378005 SCT Cardiac Pacemaker
        19923001 SCT Catheter
        77720000 SCT Clip
        228761004 SCT Collimator
        129460009 SCT Compression paddle
        129467007 SCT ID Plate
        40388003 SCT Implant
        129463006 SCT J Wire
        262301009 SCT Opaque Marker
        111175 DCM Other Marker
        56353002 SCT Staple
        27065002 SCT Suture
        7140000 SCT Contrast agent
        12402003 SCT Scar tissue
    """,
    # Mammography Image Quality Finding
    "CID 6041": """
        111177 DCM View and Laterality Marker is missing
        111178 DCM View and Laterality Marker does not have both view and laterality
        111179 DCM View and Laterality Marker does not have approved codes
        111180 DCM View and Laterality Marker is not near the axilla
        111181 DCM View and Laterality Marker overlaps breast tissue
        111182 DCM View and Laterality Marker is partially obscured
        111183 DCM View and Laterality Marker is incorrect
        111184 DCM View and Laterality Marker is off image
        111185 DCM Flash is not near edge of film
        111186 DCM Flash is illegible, does not fit, or is lopsided
        111187 DCM Flash doesn't include patient name and additional patient id
        111188 DCM Flash doesn't include date of examination
        111189 DCM Flash doesn't include facility name and location
        111190 DCM Flash doesn't include technologist identification
        111191 DCM Flash doesn't include cassette/screen/detector identification
        111192 DCM Flash doesn't include mammography unit identification
        111193 DCM Date sticker is missing
        111194 DCM Technical factors missing
        111195 DCM Collimation too close to breast
        111196 DCM Inadequate compression
        111197 DCM MLO Insufficient pectoral muscle
        111198 DCM MLO No fat is visualized posterior to fibroglandular tissues
        111199 DCM MLO Poor separation of deep and superficial breast tissues
        111200 DCM MLO Evidence of motion blur
        111201 DCM MLO Inframammary fold is not open
        111202 DCM CC Not all medial tissue visualized
        111203 DCM CC Nipple not centered on image
        111204 DCM CC Posterior nipple line does not measure within 1 cm of MLO
        111205 DCM Nipple not in profile
        111206 DCM Insufficient implant displacement incorrect
        111208 DCM Grid artifact(s)
        111209 DCM Positioning
        111210 DCM Motion blur
        111211 DCM Under exposed
        111212 DCM Over exposed
        111213 DCM No image
        111214 DCM Detector artifact(s)
        111215 DCM Artifact(s) other than grid or detector artifact
        111216 DCM Mechanical failure
        111217 DCM Electrical failure
        111218 DCM Software failure
        111219 DCM Inappropriate image processing
        111220 DCM Other failure
        111221 DCM Unknown failure
    """,
    # Image Quality Assessment Type
    "CID 6044": """
        111235 DCM Unusable - Quality renders image unusable
        111236 DCM Usable - Does not meet the quality control standard
        111237 DCM Usable - Meets the quality control standard
    """,
    # Mammography Quality Control Standard Type
    "CID 6045": """
        111238 DCM Mammography Quality Control Manual 1999, ACR
        111239 DCM Title 21 CFR Section 900, Subpart B
        111240 DCM Institutionally defined quality control standard
    """,
    # CAD Operating Point Axis Label
    "CID 6048": """
        111012 DCM Certainty of Finding
        111047 DCM Probability of cancer
        111086 DCM False Markers per Image
        111087 DCM False Markers per Case
        111088 DCM Case Sensitivity
        111089 DCM Lesion Sensitivity
        111090 DCM Case Specificity
        111091 DCM Image Specificity
    """,
    # CAD Geometry Secondary Graphical Representation
    "CID 6166": """
        113661 DCM Outline of lobulations
        113662 DCM Inner limits of fuzzy margin
        113663 DCM Outer limits of fuzzy margin
        113664 DCM Outline of spiculations
        113665 DCM Linear spiculation
        113666 DCM Pixelated spiculations
        103339001 SCT Long axis
        103340004 SCT Short axis
        113669 DCM Orthogonal location arc
        113670 DCM Orthogonal location arc inner margin
        113671 DCM Orthogonal location arc outer margin
    """,
    # Mammography Quantitative Temporal Difference Type
    "CID 6037": """
        129806009 SCT Difference in size
        129807000 SCT Difference in opacity
        129808005 SCT Difference in location
        129809002 SCT Difference in spatial proximity
        129810007 SCT Difference in number of calcifications
    """,
    # Mammography Qualitative Temporal Difference Type
    "CID 6038": """
        129811006 SCT Difference in shape
        129812004 SCT Difference in margin
        129813009 SCT Difference in symmetry
    """,
    # Linear Measurement
    "CID 7470": """
        410668003 SCT Length
        121211 DCM Path length
        121206 DCM Distance
        103355008 SCT Width
        131197000 SCT Depth
        81827009 SCT Diameter
        103339001 SCT Long axis
        103340004 SCT Short axis
        131187009 SCT Major Axis
        131188004 SCT Minor Axis
        131189007 SCT Perpendicular Axis
        131190003 SCT Radius
        131191004 SCT Perimeter
        74551000 SCT Circumference
        131192006 SCT Diameter of circumscribed circle
        121207 DCM Height
        L0JK IBSI Maximum 3D Diameter of a Mesh
        TDIC IBSI Major Axis in 3D Length
        P9VJ IBSI Minor Axis in 3D Length
        7J51 IBSI Least Axis in 3D Length
        121227 DCM Line segment length
    """,
    # Linear Measurement Unit
    "CID 7460": """
        cm UCUM cm
        mm UCUM mm
        um UCUM micrometer
    """,
    # Area Measurement
    "CID 7471": """
        42798000 SCT Area
        131184002 SCT Area of defined region
        C0JK IBSI Surface Area of Mesh
    """,
    # Area Measurement Unit
    "CID 7461": """
        cm2 UCUM Centimeter**2
        mm2 UCUM square millimeter
        um2 UCUM square micrometer
    """,
    # Volume Measurement
    "CID 7472": """
        118565006 SCT Volume
        121216 DCM Volume estimated from single 2D region
        121217 DCM Volume estimated from three or more non-coplanar 2D regions
        121218 DCM Volume estimated from two non-coplanar 2D regions
        YEKZ IBSI Volume from Voxel Summation
        121219 DCM Volume of bounding three dimensional region
        121220 DCM Volume of circumscribed sphere
        121221 DCM Volume of ellipsoid
        RNU0 IBSI Volume of Mesh
        121222 DCM Volume of sphere
    """,
    # Volume Measurement Unit
    "CID 7462": """
        cm3 UCUM cubic centimeter
        dm3 UCUM cubic decimeter
        um3 UCUM cubic micrometer
        mm3 UCUM cubic millimeter
    """,
}


def _parsed(table: str) -> Mapping[tuple[str, str], str]:
    rows = (line.split(maxsplit=2) for line in table.strip().splitlines())
    return MappingProxyType({(value, scheme): meaning for value, scheme, meaning in rows})


#: Name of the set to its members: (code, scheme) to meaning.
VALUE_SETS = {name: _parsed(table) for name, table in _TABLES.items()}

#: Sets that no code from outside may stand in for; in the others one may, where no member fits.
NOT_EXTENSIBLE = {"CID 4014", "CID 4015", "CID 6034", "CID 6035", "CID 6036", "CID 6042", "CID 6047", "CID 6048"}
